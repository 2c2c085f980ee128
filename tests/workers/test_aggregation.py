"""Which contribution counts, what is released and withdrawn, and what is forgotten."""

from typing import Any

import pytest

from convergence.replay.reference import Row
from schemas.aggregation import BarrierInstances, PartialAggregate, RoundBarrier
from schemas.knowledge import AggregatedPattern, KnowledgeMark
from schemas.reports import Contribution
from schemas.rounds import Configuration, RoundKind
from tests.workers.line import Line, shared_rows, signature
from workers.aggregation import OutsideWindowError
from workers.aggregation_state import AggregationState
from workers.fold import Outcome


def barrier(
    line: Line,
    named: dict[str, int],
    *,
    number: int = 1,
    kind: RoundKind = RoundKind.SYNCHRONIZATION,
    weights: dict[str, int] | None = None,
    **configuration: Any,
) -> None:
    """Append a barrier that names these sequences, into every bucket, and step the aggregation."""
    event = RoundBarrier(
        federation="default",
        round_id=f"default/{kind}/{number}",
        kind=kind,
        number=number,
        part=0,
        parts=1,
        configuration=Configuration(**({"release_threshold": 2} | configuration)),
        instances=BarrierInstances(
            instance_id=tuple(sorted(named)),
            organisation=tuple(sorted(named)),
            sequence=tuple(named[name] for name in sorted(named)),
            weight=tuple((weights or {}).get(name, 500_000) for name in sorted(named)),
            attended=(0,) * len(named),
            counted=(0,) * len(named),
        ),
    )
    for bucket in range(3):
        line.publish(event, None, bucket, f"{event.round_id}/barrier/{bucket}")
    line.step("aggregation")


def contribute(line: Line, sequence: int, rows: dict[str, Row], *instances: str) -> None:
    line.contribute({name: (name, sequence, rows) for name in instances})


def strengths(line: Line, number: int = 1) -> int:
    """Return the sum of the first member's strengths over all buckets."""
    partials = [each for each in line.events(PartialAggregate) if each.round_id.endswith(f"/{number}")]
    assert len(partials) == 3
    return sum(each.sums.own_strength[0] for each in partials)


def states(line: Line) -> list[AggregationState]:
    return [task.state for task in line.tasks if isinstance(task.state, AggregationState)]


def test_a_barrier_that_names_the_older_of_two_contributions_gets_that_one() -> None:
    line = Line(restarting=True)
    contribute(line, 1, shared_rows(strength=900_000), "alpha")
    contribute(line, 2, shared_rows(strength=500_000), "alpha")
    barrier(line, {"alpha": 1})
    assert strengths(line) == 3 * 900_000
    barrier(line, {"alpha": 2}, number=2)
    assert strengths(line, 2) == 3 * 500_000
    assert all(not state.newer.of("default") for state in states(line))


def test_a_named_contribution_counts_again_in_the_next_round() -> None:
    line = Line()
    contribute(line, 1, shared_rows(), "alpha")
    for number in (1, 2):
        barrier(line, {"alpha": 1}, number=number)
        assert strengths(line, number) == 3 * 900_000


def test_the_contributions_of_a_report_without_rows_replace_what_was_there() -> None:
    line = Line()
    contribute(line, 1, shared_rows(), "alpha")
    contribute(line, 2, {}, "alpha")
    barrier(line, {"alpha": 2})
    assert strengths(line) == 0


def test_contributions_that_no_barrier_will_name_are_dropped() -> None:
    line = Line()
    for sequence in (1, 2, 3, 4):
        contribute(line, sequence, shared_rows(), "alpha")
    barrier(line, {"alpha": 3})
    for state in states(line):
        assert state.named.of("default")["alpha"].sequence == 3
        assert [held.sequence for held in state.newer.of("default")["alpha"]] == [4]


def test_an_instance_outside_the_cohort_has_no_cells_but_keeps_its_contribution() -> None:
    line = Line()
    contribute(line, 1, shared_rows(), "alpha", "beta")
    barrier(line, {"alpha": 1, "beta": 1}, weights={"beta": 0})
    assert {len(each.sums) for each in line.events(PartialAggregate)} == {1}
    barrier(line, {"alpha": 1, "beta": 1}, number=2)
    assert {len(each.sums) for each in line.events(PartialAggregate)[3:]} == {2}


def test_a_removed_instance_is_forgotten_by_the_first_barrier_that_does_not_name_it() -> None:
    line = Line(restarting=True)
    contribute(line, 1, shared_rows(), "alpha", "beta")
    barrier(line, {"alpha": 1, "beta": 1})
    line.contribute({"alpha": ("alpha", 1, {})}, removed=True)
    barrier(line, {"alpha": 1, "beta": 1}, number=2)  # it was closed before alpha left
    assert strengths(line, 2) == 3 * 900_000
    barrier(line, {"beta": 1}, number=3)
    for state in states(line):
        assert set(state.named.of("default")) == {"beta"}
        assert not state.newer.of("default")


def test_a_newcomer_that_left_stays_for_a_barrier_that_was_decided_before_it_left() -> None:
    line = Line()
    contribute(line, 1, shared_rows(), "alpha", "beta")
    line.contribute({"beta": ("beta", 1, {})}, removed=True)
    # Given two rounds in flight: the one was collected before beta was known, the other before it left
    barrier(line, {"alpha": 1}, kind=RoundKind.UPDATE)
    barrier(line, {"alpha": 1, "beta": 1}, number=2)
    assert all(len(each.sums) == 2 for each in line.events(PartialAggregate) if each.round_id.endswith("/2"))
    assert strengths(line, 2) == 3 * 900_000


def test_who_came_back_and_left_again_stays_for_a_barrier_that_was_decided_in_between() -> None:
    line = Line(restarting=True)
    contribute(line, 1, shared_rows(), "alpha", "beta")
    barrier(line, {"alpha": 1, "beta": 1})
    line.contribute({"beta": ("beta", 1, {})}, removed=True)
    contribute(line, 2, shared_rows(strength=700_000), "beta")
    line.contribute({"beta": ("beta", 2, {})}, removed=True)
    # Given two rounds in flight: the one was collected while beta was away, the other when it was back
    barrier(line, {"alpha": 1}, kind=RoundKind.UPDATE)
    barrier(line, {"alpha": 1, "beta": 2}, number=2)
    assert all(len(each.sums) == 2 for each in line.events(PartialAggregate) if each.round_id.endswith("/2"))
    barrier(line, {"alpha": 1}, number=3)
    for state in states(line):
        assert set(state.named.of("default")) == {"alpha"}
        assert not state.newer.of("default")


def test_a_removal_that_finds_nothing_leaves_nothing() -> None:
    line = Line()
    contribute(line, 1, shared_rows(), "alpha")
    barrier(line, {"alpha": 1})
    # When it leaves, and leaves again behind a report that was refused
    for sequence in (1, 2):
        line.contribute({"alpha": ("alpha", sequence, {})}, removed=True)
    barrier(line, {}, number=2)
    # And once more, when all of it is forgotten
    line.contribute({"alpha": ("alpha", 3, {})}, removed=True)
    for state in states(line):
        assert not state.named.of("default")
        assert not state.newer.of("default")


def test_what_comes_after_a_removal_stays_until_it_is_named() -> None:
    line = Line()
    contribute(line, 1, shared_rows(), "alpha")
    line.contribute({"alpha": ("alpha", 1, {})}, removed=True)
    contribute(line, 2, shared_rows(strength=700_000), "alpha")
    barrier(line, {})
    barrier(line, {"alpha": 2}, number=2)
    assert strengths(line, 2) == 3 * 700_000


def test_an_unnamed_instance_that_was_not_removed_keeps_everything() -> None:
    line = Line()
    contribute(line, 1, shared_rows(), "alpha")
    barrier(line, {})
    barrier(line, {"alpha": 1}, number=2)
    assert strengths(line, 2) == 3 * 900_000


def test_a_round_whose_contributions_are_gone_has_no_answer() -> None:
    line = Line()
    with pytest.raises(OutsideWindowError, match="alpha has no contribution 1"):
        barrier(line, {"alpha": 1})


def test_outside_the_cohort_a_missing_contribution_does_no_harm() -> None:
    line = Line()
    barrier(line, {"alpha": 1}, weights={"alpha": 0})
    assert len(line.events(PartialAggregate)) == 3


# --- knowledge


def test_released_patterns_are_published_and_again_only_when_they_change() -> None:
    line = Line(restarting=True)
    contribute(line, 1, shared_rows(), "alpha", "beta")
    barrier(line, {"alpha": 1, "beta": 1})
    assert {each.pattern_id for each in line.events(AggregatedPattern)} == {signature(n) for n in range(3)}
    barrier(line, {"alpha": 1, "beta": 1}, number=2)
    assert len(line.events(AggregatedPattern)) == 3
    changed = shared_rows() | {signature(1): ("slow", 700_000, 800_000, 950_000, 7)}
    contribute(line, 2, changed, "alpha", "beta")
    barrier(line, {"alpha": 2, "beta": 2}, number=3)
    (again,) = line.events(AggregatedPattern)[3:]
    assert (again.pattern_id, again.average_strength, again.number) == (signature(1), 0.7, 3)


def test_every_bucket_marks_every_synchronization() -> None:
    line = Line()
    contribute(line, 1, shared_rows(2), "alpha", "beta")
    for number in (1, 2):
        barrier(line, {"alpha": 1, "beta": 1}, number=number)
    marks = line.events(KnowledgeMark)
    assert [(mark.number, mark.bucket, mark.patterns) for mark in marks] == [
        (1, 0, 1),
        (1, 1, 1),
        (1, 2, 0),
        (2, 0, 1),
        (2, 1, 1),
        (2, 2, 0),
    ]
    keys = {record.key for record in line.log if record.topic == KnowledgeMark.topic}
    assert b"mark/default" in keys


def test_an_update_publishes_no_knowledge() -> None:
    line = Line()
    contribute(line, 1, shared_rows(), "alpha", "beta")
    barrier(line, {"alpha": 1, "beta": 1}, kind=RoundKind.UPDATE)
    assert [record for record in line.log if record.topic == KnowledgeMark.topic] == []
    assert {each.releases for each in line.events(PartialAggregate)} == {None}


def test_what_falls_below_the_threshold_is_withdrawn_once_and_does_not_emerge_again() -> None:
    line = Line(restarting=True)
    contribute(line, 1, shared_rows(1), "alpha", "beta")
    barrier(line, {"alpha": 1, "beta": 1})
    barrier(line, {"alpha": 1, "beta": 1}, number=2, release_threshold=3)
    barrier(line, {"alpha": 1, "beta": 1}, number=3, release_threshold=3)
    tombstones = [
        record.key for record in line.log if record.topic == KnowledgeMark.topic and record.value is None
    ]
    assert tombstones == [f"default/{signature(0)}".encode()]
    barrier(line, {"alpha": 1, "beta": 1}, number=4)
    assert len(line.events(AggregatedPattern)) == 2
    counts = [
        (each.releases.released, each.releases.withheld, each.releases.emerged)
        for each in line.events(PartialAggregate)
        if each.bucket == 0 and each.releases is not None
    ]
    assert counts == [(1, 0, 1), (0, 1, 0), (0, 1, 0), (1, 0, 0)]


def test_at_most_a_hundred_emerged_patterns_of_a_bucket_are_named_and_all_are_counted() -> None:
    line = Line()
    rows = {signature(3 * number): ("slow", 900_000, 800_000, 950_000, 1) for number in range(101)}
    contribute(line, 1, rows, "alpha", "beta")
    barrier(line, {"alpha": 1, "beta": 1})
    counts = line.events(PartialAggregate)[0].releases
    assert counts is not None
    assert (counts.emerged, len(counts.emerged_ids)) == (101, 100)


# --- repetition and size


def test_a_contribution_or_a_barrier_that_comes_twice_is_a_duplicate() -> None:
    line = Line(restarting=True)
    for _ in range(2):
        contribute(line, 1, shared_rows(), "alpha")
    line.step("aggregation")
    topic = RoundBarrier.topic
    assert line.handled["aggregation", topic, Outcome.DUPLICATE] == 3
    barrier(line, {"alpha": 1})
    contribute(line, 1, shared_rows(), "alpha")
    barrier(line, {"alpha": 1})
    assert len(line.events(PartialAggregate)) == 3
    assert line.handled["aggregation", topic, Outcome.DUPLICATE] == 3 + 3 + 3


def test_a_restore_folds_to_the_same_state_without_the_answers_to_updates() -> None:
    # Given contributions, an update, a synchronization that releases, and one that withdraws
    line = Line()
    contribute(line, 1, shared_rows(8), "a", "b")
    barrier(line, {"a": 1, "b": 1}, kind=RoundKind.UPDATE)
    barrier(line, {"a": 1, "b": 1})
    contribute(line, 2, shared_rows(3), "a")
    barrier(line, {"a": 2, "b": 1}, number=2)
    barrier(line, {"a": 2, "b": 1}, number=2, kind=RoundKind.UPDATE)
    for task in line.tasks:
        if task.worker.name == "aggregation":
            # When the input is folded again
            state = task.worker.state()
            own = [
                one for one in line.log if (one.topic, one.partition) == (Contribution.topic, task.partition)
            ]
            task.worker.again(state, own)
            # Then every table is as it was
            assert list(state.changes()) == list(task.state.changes())


def test_a_cell_takes_at_most_64_bytes() -> None:
    line = Line()
    contribute(line, 1, shared_rows(300), "alpha", "beta")
    barrier(line, {"alpha": 1, "beta": 1}, kind=RoundKind.UPDATE)
    task = next(task for task in line.tasks if task.worker.name == "aggregation")
    size = sum(len(key) + len(value or b"") for key, value in task.state.changes())
    assert size < 64 * 200
