"""Why a round ended as it did."""

import pytest

from convergence.observation.explanation import explain, instance_costs
from convergence.parts import join
from schemas.convergence import RoundAbandoned
from schemas.event import MICRO
from schemas.health import Status
from schemas.rounds import DetectionCompleted, Phase, RoundKind
from tests.observation.federation import Observed
from tests.workers.line import shared_rows, signature


def unequal(**changes: int) -> Observed:
    """Return a federation in which five agree, ``lazy`` lacks most and ``odd`` sees weaker patterns."""
    line = Observed(**changes)
    everything = shared_rows(10)
    for name in ("a", "b", "c", "d", "e"):
        line.report(name, everything, 1)
    line.report("lazy", shared_rows(2), 1)
    line.report("odd", shared_rows(10, strength=300_000), 1)
    line.ask("now")
    line.wait(60_000)
    return line


def last(line: Observed) -> DetectionCompleted:
    """Return the result of the last synchronization."""
    found = [one for one in line.events(DetectionCompleted) if one.kind is RoundKind.SYNCHRONIZATION]
    return join(found[-found[-1].parts :])


def test_every_unmet_criterion_names_its_distance_and_who_costs_it_most() -> None:
    explanation = explain(last(unequal()))
    alignment = next(one for one in explanation.criteria if one.name == "alignment")
    assert not alignment.met
    assert alignment.distance == pytest.approx(alignment.value - alignment.threshold)
    assert [cost.instance_id for cost in alignment.costliest][:2] == ["lazy", "odd"]
    assert alignment.costliest[0].because == "holds 23% of what is shared"
    assert alignment.costliest[1].because.startswith("its strengths differ")
    assert "must exceed 0.90" in explanation.sentence
    assert "lazy, odd and" in explanation.sentence


def test_a_score_just_short_of_its_threshold_does_not_look_like_it() -> None:
    detected = last(unequal())
    criteria = tuple(
        one.model_copy(update={"value": 899_500}) if one.name == "alignment" else one
        for one in detected.criteria
    )
    explanation = explain(detected.model_copy(update={"criteria": criteria}))
    assert "alignment is 0.8995 and must exceed 0.90" in explanation.sentence


def test_the_costs_add_up_to_what_the_federation_lacks() -> None:
    detected = last(unequal())
    scores = detected.global_scores
    assert scores is not None
    rows = len(detected.instances)
    of_alignment = sum(instance_costs(detected, "alignment").values())
    assert MICRO - scores.pattern_alignment == pytest.approx(of_alignment, abs=rows)
    of_convergence = sum(instance_costs(detected, "convergence").values())
    of_emergence = (MICRO - scores.global_emergence) / 5
    assert MICRO - scores.global_convergence == pytest.approx(of_convergence + of_emergence, abs=rows + 1)
    of_variance = sum(instance_costs(detected, "variance").values())
    assert scores.convergence_variance == pytest.approx(of_variance, abs=rows + 1)


def test_emergence_is_nobodys_fault() -> None:
    assert instance_costs(last(unequal()), "emergence") == {}


def test_who_was_dropped_is_named_with_the_reason() -> None:
    line = Observed()
    for name in ("a", "b", "c"):
        line.report(name, shared_rows(), 1)
    line.report("empty", {}, 1)
    line.report("gone", shared_rows(), 1, status=Status.INACTIVE)
    line.ask("now")
    line.wait(60_000)
    explanation = explain(last(line))
    assert {one.instance_id: one.reason for one in explanation.dropped} == {
        "empty": "no_patterns",
        "gone": "not_active",
    }
    assert explanation.cohort == 3


def test_a_converged_round_says_so_and_blames_nobody() -> None:
    line = Observed()
    for sequence in range(1, 6, 2):
        line.learn("a", "b", "c", "d", sequence=sequence, strength=900_000)
    explanation = explain(last(line))
    assert explanation.outcome == "converged"
    assert explanation.sentence == "Converged: every criterion is met."


def test_phases_have_the_durations_in_between() -> None:
    detected = last(unequal())
    ended_ms = detected.phase_started_ms[Phase.DETECTION] + 7
    phases = explain(detected, ended_ms=ended_ms).phases
    assert [one.phase for one in phases] == list(Phase)[:4]
    assert phases[-1].duration_ms == 7
    assert phases[0].duration_ms == phases[1].started_ms - phases[0].started_ms


def test_names_are_cut_and_counts_are_not() -> None:
    line = Observed()
    for number in range(30):
        line.report(f"gone-{number:02d}", shared_rows(), 1, status=Status.INACTIVE)
    for name in ("a", "b", "c"):
        line.report(name, {signature(0): ("slow", 900_000, 800_000, 950_000, 7)}, 1)
    line.ask("now")
    line.wait(60_000)
    explanation = explain(last(line))
    assert len(explanation.dropped) == 20
    assert explanation.dropped_count == {"not_active": 30}


def test_an_abandoned_round_says_who_was_missing() -> None:
    line = Observed(min_instances=3)
    line.report("a", shared_rows(), 1)
    line.report("gone", shared_rows(), 1, status=Status.INACTIVE)
    line.ask("now")
    line.wait(60_000)
    snapshot = line.observe().snapshot(0)
    assert [event.phase for event in line.events(RoundAbandoned)] == [Phase.COLLECTION]
    assert snapshot.abandoned is not None
    assert snapshot.abandoned.sentence == (
        "Abandoned in collection: 1 in the cohort, 3 are needed; left out: 1 not active."
    )
    assert [one.instance_id for one in snapshot.abandoned.dropped] == ["gone"]


def test_a_round_abandoned_in_validation_names_whom_the_validation_dropped() -> None:
    line = Observed(min_instances=3)
    line.report("a", shared_rows(), 1)
    line.report("b", shared_rows(), 1)
    line.report("empty", {}, 1)
    line.ask("now")
    line.wait(60_000)
    abandoned = line.observe().snapshot(0).abandoned
    assert abandoned is not None
    assert [(one.instance_id, one.reason) for one in abandoned.dropped] == [("empty", "no_patterns")]
    assert "left out: 1 no patterns" in abandoned.sentence
