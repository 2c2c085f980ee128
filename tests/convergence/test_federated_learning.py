"""A federation in one process, as the source documents it."""

from datetime import UTC, timedelta
from typing import Any

import pytest

from convergence import (
    FederatedLearningConvergence,
    InstanceStatus,
    InvalidInstance,
    NotRegistered,
    PatternError,
    PatternQuality,
    TooManyPatterns,
)

START_MS = 1_800_000_000_000


class Hands:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now_ms = START_MS

    def __call__(self) -> int:
        return self.now_ms


def pattern(number: int = 1, **changes: Any) -> dict[str, Any]:
    fields = {
        "pattern_id": f"pattern-{number}",
        "pattern_type": "positive",
        "strength": 0.85,
        "resonance": 0.80,
        "frequency": 10,
        "modules": [f"module-{number}"],
        "event_types": ["event"],
        "epistemic_certainty": 0.90,
    }
    return fields | changes


def federation(*names: str, **options: Any) -> FederatedLearningConvergence:
    learning = FederatedLearningConvergence(**options)
    for name in names:
        learning.register_instance(name, name.title(), "us-east-1")
    return learning


def test_a_new_federation_is_empty_and_shows_its_arguments() -> None:
    learning = FederatedLearningConvergence()
    assert (learning.min_epistemic_certainty, learning.pattern_quality_threshold) == (0.85, 0.7)
    assert learning.heartbeat_timeout == timedelta(minutes=5)
    assert learning.get_instance_registry() == {}
    assert learning.get_global_pattern_library() == {}
    assert dict(learning.instance_patterns) == {}


@pytest.mark.parametrize(
    "arguments",
    [
        {"min_epistemic_certainty": 1.1},
        {"pattern_quality_threshold": float("nan")},
        {"heartbeat_timeout": timedelta(0)},
    ],
)
def test_an_impossible_argument_is_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(arguments))):
        FederatedLearningConvergence(**arguments)


def test_registering_again_updates() -> None:
    learning = federation("berlin")
    first = learning.register_instance("berlin", "Berlin", "eu", {"tier": "gold"})
    again = learning.register_instance("berlin", "Berlin 2", "us", {"organisation": "acme"})
    assert again is first is learning.instance_registry["berlin"]
    assert (again.instance_name, again.deployment_region) == ("Berlin 2", "us")
    assert again.metadata == {"tier": "gold", "organisation": "acme"}
    assert again.status is InstanceStatus.ACTIVE
    assert again.registered_at.tzinfo is UTC


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        (("Berlin!", "x", "eu", None), "instance_id"),
        (("berlin", None, "eu", None), "instance_name"),
        (("berlin", "x", "eu", {"organisation": "ACME Inc"}), "organisation"),
    ],
)
def test_an_instance_that_no_bus_would_take_is_refused_by_field(
    arguments: tuple[Any, ...], field: str
) -> None:
    learning = FederatedLearningConvergence()
    with pytest.raises(InvalidInstance, match=f"^{field}: ") as raised:
        learning.register_instance(*arguments)
    assert isinstance(raised.value, ValueError)
    assert learning.instance_registry == {}


async def test_an_unregistered_instance_is_an_error() -> None:
    with pytest.raises(ValueError, match="Instance berlin not registered") as raised:
        await federation().aggregate_learning("berlin", [pattern()])
    assert isinstance(raised.value, NotRegistered)


async def test_what_two_instances_hold_is_in_the_library_with_who_contributed() -> None:
    learning = federation("berlin", "paris")
    await learning.aggregate_learning("berlin", [pattern(1), pattern(2)])
    result = await learning.aggregate_learning("paris", [pattern(1, strength=0.95), pattern(3)])
    assert (result.patterns_aggregated, result.instances_contributing) == (1, 2)
    (shared,) = learning.get_global_pattern_library().values()
    assert shared.contributing_instances == ["berlin", "paris"]
    assert (shared.instance_count, shared.total_frequency) == (2, 20)
    assert shared.average_strength == 0.9
    assert shared.aggregated_signature.signature_id == shared.pattern_id
    assert shared.to_dict()["aggregated_signature"]["quality"] == "high"


async def test_identical_instances_converge() -> None:
    learning = federation("berlin", "paris", "rome")
    for name in learning.instance_registry:
        result = await learning.aggregate_learning(name, [pattern(place) for place in range(20)])
    assert result.pattern_alignment == 1.0
    assert result.convergence_score == 0.966667  # coverage 1, quality 0.9, participation 1
    assert result.global_emergence_factor == result.emergence_score > 0.85


async def test_below_the_gates_is_filtered_and_counted() -> None:
    learning = federation("berlin")
    given = [pattern(1), pattern(2, epistemic_certainty=0.5), pattern(3, strength=0.1), pattern(1)]
    result = await learning.aggregate_learning("berlin", given)
    assert result.metadata == {
        "instance_id": "berlin",
        "patterns_received": 4,
        "patterns_validated": 1,
        "filtered": {"duplicate_signature": 1, "low_certainty": 1, "low_quality": 1},
        "outcome": "low_quality",  # of the instance: 1 accepted of 2 that the gates did not filter
    }
    assert result.convergence_score == 0.0
    assert learning.instance_registry["berlin"].data_quality_score == 0.5
    assert learning.instance_registry["berlin"].total_requests == 4


async def test_nothing_good_leaves_an_instance_out() -> None:
    learning = federation("berlin")
    result = await learning.aggregate_learning("berlin", [pattern(epistemic_certainty=0.5)])
    assert result.metadata["outcome"] == "no_patterns"
    assert learning.instance_patterns["berlin"] == []
    assert result.instances_contributing == 0


async def test_a_report_replaces_the_one_before() -> None:
    learning = federation("berlin")
    await learning.aggregate_learning("berlin", [pattern(1), pattern(2)])
    await learning.aggregate_learning("berlin", [pattern(3)])
    assert len(learning.instance_patterns["berlin"]) == 1


@pytest.mark.parametrize(
    ("strength", "certainty", "expected"),
    [
        (0.7, 0.9, PatternQuality.HIGH),
        (0.69, 0.9, PatternQuality.MEDIUM),
        (0.9, 0.89, PatternQuality.MEDIUM),
        (0.49, 0.95, PatternQuality.LOW),
    ],
)
async def test_an_accepted_pattern_has_a_quality(
    strength: float, certainty: float, expected: PatternQuality
) -> None:
    learning = federation("berlin")
    given = pattern(strength=strength, epistemic_certainty=certainty)
    await learning.aggregate_learning("berlin", [given])
    (held,) = learning.instance_patterns["berlin"]
    assert held.quality is expected


async def test_signatures_are_taken_as_objects_and_as_dicts() -> None:
    learning = federation("berlin", "paris", "rome")
    await learning.aggregate_learning("berlin", [pattern(1)])
    held = learning.instance_patterns["berlin"]
    await learning.aggregate_learning("paris", held)
    await learning.aggregate_learning("rome", [each.to_dict() for each in held])
    (shared,) = learning.get_global_pattern_library().values()
    assert shared.instance_count == 3


async def test_names_of_modules_are_not_kept() -> None:
    learning = federation("berlin")
    await learning.aggregate_learning("berlin", [pattern(1, modules=["checkout"])])
    assert "checkout" not in str(learning.instance_patterns["berlin"][0].to_dict())


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (pattern(strength=float("nan")), r"pattern 1: strength: not in \[0, 1\]"),
        (pattern(resonance=1.5), r"pattern 1: resonance: not in \[0, 1\]"),
        (pattern(strength=10**400), "pattern 1: strength"),
        (pattern(frequency=0), "pattern 1: frequency"),
        (pattern(frequency="7"), "pattern 1: frequency: not an integer"),
        (pattern(modules="checkout"), "pattern 1: modules: not a list"),
        (pattern(pattern_type=None), "pattern 1: pattern_type: not a string"),
        ({"pattern_id": "p"}, "pattern 1: pattern_type: missing"),
        ({"signature_id": "sig-1"}, "pattern 1: pattern_type: missing"),
        (7, "pattern 1: not an object"),
    ],
)
async def test_a_bad_pattern_is_named_by_index_and_field_and_nothing_changes(bad: Any, message: str) -> None:
    learning = federation("berlin")
    await learning.aggregate_learning("berlin", [pattern(1), pattern(2)])
    before = learning.get_stats()
    with pytest.raises(PatternError, match=message) as raised:
        await learning.aggregate_learning("berlin", [pattern(), bad])
    assert isinstance(raised.value, ValueError)
    assert raised.value.index == 1
    assert learning.get_stats() == before
    assert len(learning.instance_patterns["berlin"]) == 2


async def test_more_patterns_than_a_report_holds_are_an_error() -> None:
    with pytest.raises(ValueError, match="5001 patterns") as raised:
        await federation("berlin").aggregate_learning("berlin", [pattern()] * 5_001)
    assert isinstance(raised.value, TooManyPatterns)


@pytest.mark.parametrize("given", ["patterns", pattern(), None])
async def test_patterns_come_as_a_list(given: Any) -> None:
    with pytest.raises(PatternError, match="patterns come as a list"):
        await federation("berlin").aggregate_learning("berlin", given)


def test_a_heartbeat_of_nobody_is_told() -> None:
    learning = federation()
    assert learning.update_instance_heartbeat("berlin") is False
    assert learning.check_instance_health("berlin") is False


async def test_silence_makes_an_instance_degraded_then_inactive_and_a_report_brings_it_back() -> None:
    clock = Hands()
    learning = federation("berlin", "paris", clock=clock)

    def status() -> InstanceStatus:
        return learning.instance_registry["berlin"].status

    assert learning.check_instance_health("berlin") is False
    assert status() is InstanceStatus.UNKNOWN
    await learning.aggregate_learning("berlin", [pattern()])
    assert learning.check_instance_health("berlin") is True
    clock.now_ms += 90_000
    assert learning.check_instance_health("berlin") is True
    assert status() is InstanceStatus.DEGRADED
    clock.now_ms += 210_000
    assert learning.check_instance_health("berlin") is False
    assert status() is InstanceStatus.INACTIVE
    alone = await learning.aggregate_learning("paris", [pattern()])
    assert alone.instances_contributing == 1
    together = await learning.aggregate_learning("berlin", [pattern()])
    assert together.instances_contributing == 2


async def test_the_owner_of_an_instance_is_in_its_metadata() -> None:
    learning = FederatedLearningConvergence()
    for name in ("a", "b", "c"):
        learning.register_instance(name, name, "eu", {"organisation": "acme"})
    learning.register_instance("d", "d", "eu")
    for name in ("a", "b", "c", "d"):
        result = await learning.aggregate_learning(name, [pattern(1)])
    assert result.patterns_aggregated == 1  # two organisations, of two
    learning.register_instance("c", "c", "eu", {"organisation": "other"})
    result = await learning.aggregate_learning("d", [pattern(2)])
    assert result.patterns_aggregated == 0  # of three, two are not enough


def test_the_statistics_have_the_documented_keys() -> None:
    assert federation("berlin").get_stats() == {
        "total_patterns_received": 0,
        "total_patterns_aggregated": 0,
        "total_instances_registered": 1,
        "convergence_calculations": 0,
    }
