"""The scores of a federation from those of its instances."""

from typing import Any

import pytest

from convergence import (
    AggregatedPattern,
    FederatedLearningConvergence,
    GlobalConvergenceScore,
    GlobalScoringAggregator,
    InstanceMetadata,
    InstanceScores,
    PatternQuality,
    PatternSignature,
)
from convergence.results import global_score
from convergence.types import now
from tests.convergence.test_federated_learning import federation, pattern


def instance(name: str, **changes: Any) -> InstanceMetadata:
    return InstanceMetadata(
        **({"instance_id": name, "instance_name": name, "deployment_region": "eu"} | changes)
    )


def scores(name: str, unified: float = 0.8, **changes: Any) -> InstanceScores:
    fields: dict[str, Any] = {
        "instance_id": name,
        "convergence_score": unified,
        "emergence_score": unified,
        "resonance_score": 0.75,
        "unified_score": unified,
        "pattern_count": 100,
    }
    return InstanceScores(**(fields | changes))


def aggregated(count: int, **changes: Any) -> AggregatedPattern:
    signature = PatternSignature("0" * 32, "x", 1.0, 1.0, 1, [], [], 1.0, PatternQuality.HIGH, "")
    fields: dict[str, Any] = {
        "pattern_id": "p",
        "pattern_type": "x",
        "aggregated_signature": signature,
        "contributing_instances": [],
        "instance_count": count,
        "total_frequency": 10,
        "average_strength": 1.0,
        "average_resonance": 1.0,
        "average_epistemic_certainty": 1.0,
        "consensus_score": 1.0,
    }
    return AggregatedPattern(**(fields | changes))


def converged(**changes: Any) -> GlobalConvergenceScore:
    fields: dict[str, Any] = {
        "global_convergence": 0.96,
        "instance_count": 5,
        "pattern_alignment": 0.92,
        "global_emergence": 0.88,
        "convergence_variance": 0.03,
        "mean_convergence": 0.95,
        "weighted_mean_convergence": 0.96,
    }
    return GlobalConvergenceScore(**(fields | changes))


async def test_an_empty_federation_gives_zeros() -> None:
    result = await GlobalScoringAggregator().calculate_global_convergence({}, {})
    assert result.to_dict() | {"timestamp": ""} == {
        "global_convergence": 0.0,
        "instance_count": 0,
        "pattern_alignment": 0.0,
        "global_emergence": 0.0,
        "convergence_variance": 0.0,
        "mean_convergence": 0.0,
        "weighted_mean_convergence": 0.0,
        "timestamp": "",
        "instance_scores": [],
    }


async def test_means_and_variance_are_weighted_and_alignment_is_in_the_metadata() -> None:
    aggregator = GlobalScoringAggregator()
    result = await aggregator.calculate_global_convergence(
        {"a": scores("a", 0.8, metadata={"alignment": 1.0}), "b": scores("b", 0.5), "c": scores("c")},
        {"a": instance("a", pattern_count=1_000), "b": instance("b", pattern_count=0)},
    )
    assert result.instance_count == 2  # of c nothing is known
    assert result.mean_convergence == 0.65
    assert result.weighted_mean_convergence == 0.7  # weights 1 and 0.5
    assert result.convergence_variance == 0.02
    assert result.pattern_alignment == 0.666667
    assert result.global_emergence == 0.7
    assert result.global_convergence == 0.69  # 0.35 + 0.2 + 0.14


async def test_emergence_is_that_of_the_patterns_that_two_hold() -> None:
    aggregator = GlobalScoringAggregator()
    given = {name: scores(name) for name in "abcde"}, {name: instance(name) for name in "abcde"}
    patterns = [aggregated(5), aggregated(1, consensus_score=0.0)]
    result = await aggregator.calculate_global_convergence(*given, patterns)
    assert result.global_emergence == 1.0
    result = await aggregator.calculate_global_convergence(*given, {"p": aggregated(2)})
    assert result.global_emergence == 0.85  # two of five: reach 0.4
    assert aggregator.get_stats() == {
        "total_aggregations": 2,
        "instances_aggregated": 10,
        "patterns_aligned": 3,
    }


async def test_of_a_round_it_gives_what_the_round_has() -> None:
    learning: FederatedLearningConvergence = federation("berlin", "paris", "rome", "oslo")
    for offset, name in enumerate(learning.instance_registry):
        strengths = (0.8 + 0.02 * ((place + offset) % 5) for place in range(9))
        await learning.aggregate_learning(name, [pattern(n, strength=s) for n, s in enumerate(strengths)])
    exact = global_score(learning.compute(learning.collect()), now())
    again = await GlobalScoringAggregator().calculate_global_convergence(
        {one.instance_id: one for one in exact.instance_scores},
        learning.instance_registry,
        learning.get_global_pattern_library(),
    )
    ignored = {"timestamp": ""}
    assert again.to_dict() | ignored == exact.to_dict() | ignored


@pytest.mark.parametrize(
    ("score", "known", "message"),
    [
        (scores("a", unified_score=float("nan")), instance("a"), "a: unified_score: not in"),
        (scores("a", metadata={"alignment": 1.1}), instance("a"), "a: alignment: not in"),
        (scores("a"), instance("a", reliability_score=-0.1), "a: reliability_score: not in"),
    ],
)
async def test_a_score_out_of_range_is_named(
    score: InstanceScores, known: InstanceMetadata, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        await GlobalScoringAggregator().calculate_global_convergence({"a": score}, {"a": known})


def test_converged_needs_all_four_strictly() -> None:
    validate = GlobalScoringAggregator().validate_convergence
    assert validate(converged())
    assert not validate(converged(global_convergence=0.95))
    assert not validate(converged(pattern_alignment=0.9))
    assert not validate(converged(global_emergence=0.85))
    assert not validate(converged(convergence_variance=0.05))
    assert not validate(converged(instance_count=0))


def test_a_lower_variance_threshold_counts_a_higher_one_does_not() -> None:
    assert not GlobalScoringAggregator(max_variance_threshold=0.02).validate_convergence(converged())
    high = GlobalScoringAggregator(max_variance_threshold=0.5)
    assert not high.validate_convergence(converged(convergence_variance=0.06))


@pytest.mark.parametrize("arguments", [{"min_instance_weight": 0}, {"max_variance_threshold": -1}])
def test_an_impossible_argument_is_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(arguments))):
        GlobalScoringAggregator(**arguments)
