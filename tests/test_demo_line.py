"""The line that the demo prints of a round."""

from typing import Any

from flc.demo import line
from schemas.convergence import PublicCriterion, RoundAbandoned, SynchronizationCompleted
from schemas.reasons import AbandonReason
from schemas.rounds import Phase, RoundKind

CRITERIA = (
    PublicCriterion(name="convergence", value=0.96, threshold=0.95, met=True, distance=0.01),
    PublicCriterion(name="alignment", value=0.87, threshold=0.9, met=False, distance=-0.03),
    PublicCriterion(name="variance", value=0.06, threshold=0.05, met=False, distance=-0.01),
)
ROUND: dict[str, Any] = {
    "federation": "demo",
    "round_id": "demo/synchronization/3",
    "kind": RoundKind.SYNCHRONIZATION,
    "number": 3,
    "timestamp": 1,
    "instance_count": 7,
    "dropped": {"not_active": 2},
    "commands": (),
    "next_sync_window": None,
}


def completed(**changes: Any) -> SynchronizationCompleted:
    event = SynchronizationCompleted.model_construct(
        **ROUND,
        instances_synced=7,
        convergence_achieved=False,
        criteria=CRITERIA,
        global_convergence=0.91,
        patterns_aggregated=12,
        patterns_emerged=2,
        sync_duration_ms=84,
    )
    return event.model_copy(update=changes)


def test_a_round_that_has_not_converged_names_the_criterion_that_is_farthest_from_being_met() -> None:
    assert line(3, completed(), 0.85) == (
        "[round 3] 7/9 instances · converged no (alignment 0.87 < 0.90) · convergence 0.91 (+0.06) · "
        "12 shared patterns, 2 emerged · 84 ms"
    )


def test_the_first_round_has_nothing_to_be_compared_with() -> None:
    assert "convergence 0.91 ·" in line(1, completed(), None)


def test_too_much_variance_reads_the_other_way_round() -> None:
    assert "converged no (variance 0.06 > 0.05)" in line(1, completed(criteria=CRITERIA[2:]), None)


def test_a_score_just_short_of_its_threshold_does_not_look_like_it() -> None:
    nearly = PublicCriterion(name="variance", value=0.0502, threshold=0.05, met=False, distance=-0.0002)
    assert "converged no (variance 0.0502 > 0.05)" in line(1, completed(criteria=(nearly,)), None)


def test_a_converged_round_says_so() -> None:
    assert "converged yes" in line(9, completed(convergence_achieved=True), 0.9)


def test_an_abandoned_round_says_where_and_why() -> None:
    event = RoundAbandoned.model_construct(
        **ROUND, phase=Phase.COLLECTION, reason=AbandonReason.BELOW_QUORUM, min_instances=2
    )
    assert line(2, event, None) == "[round 2] abandoned in collection: below_quorum"
