"""Barriers, partials, and who was in the former synchronizations."""

from schemas.aggregation import PartialAggregate, RoundBarrier
from schemas.rounds import AggregationCompleted, RoundKind, ValidationCompleted
from tests.workers.line import Line, shared_rows
from workers.consensus import Attendance
from workers.fold import Outcome


def two(line: Line) -> Line:
    """Let two instances report, and run the update about it."""
    line.report("alpha", shared_rows(), 1)
    line.report("beta", {}, 1)
    line.run()
    return line


def test_one_barrier_goes_into_every_bucket_and_names_every_instance() -> None:
    line = two(Line(buckets=6))
    barriers = line.events(RoundBarrier)
    assert len(barriers) == 6
    assert len({each.encode() for each in barriers}) == 1
    named = barriers[0].instances
    assert (named.instance_id, named.sequence, named.weight) == (("alpha", "beta"), (1, 1), (500_000, 0))


def test_the_round_is_complete_with_the_partial_of_the_last_bucket() -> None:
    line = two(Line())
    (completed,) = line.events(AggregationCompleted)
    assert completed.sums.rows == (3, 0)
    assert completed.library is not None
    assert completed.library.distinct == 3
    assert completed.releases is None


def test_it_waits_for_every_bucket() -> None:
    line = Line()
    line.report("alpha", shared_rows(), 1)
    for worker in ("collection", "validation", "consensus"):
        line.step(worker)
    line.step_partition("aggregation", 0)
    line.step_partition("aggregation", 2)
    line.step("consensus")
    assert len(line.events(PartialAggregate)) == 2
    assert line.events(AggregationCompleted) == []
    line.run()
    assert len(line.events(AggregationCompleted)) == 1


def test_a_partial_or_a_validation_that_comes_twice_is_a_duplicate() -> None:
    line = two(Line())
    partial, validation = line.events(PartialAggregate)[0], line.events(ValidationCompleted)[0]
    for event in (partial, validation):
        line.publish(event, validation.round_id, line.federation_partition(), "again")
    line.run()
    assert len(line.events(AggregationCompleted)) == 1
    assert len(line.events(RoundBarrier)) == 3
    assert line.handled["consensus", PartialAggregate.topic, Outcome.DUPLICATE] == 1
    assert line.handled["consensus", ValidationCompleted.topic, Outcome.DUPLICATE] == 1


def test_a_partial_that_comes_twice_before_the_others_is_a_duplicate_too() -> None:
    line = Line()
    line.report("alpha", shared_rows(), 1)
    for worker in ("collection", "validation", "consensus"):
        line.step(worker)
    line.step_partition("aggregation", 0)
    (partial,) = line.events(PartialAggregate)
    line.publish(partial, partial.round_id, line.federation_partition(), "again")
    line.run()
    assert line.handled["consensus", PartialAggregate.topic, Outcome.DUPLICATE] == 1
    assert line.events(AggregationCompleted)[0].sums.rows == (3,)


def test_a_completed_synchronization_counts_for_everybody_named_before() -> None:
    line = Line(collection_deadline_ms=100, acknowledgement_deadline_ms=100)
    for name in ("alpha", "beta"):
        line.report(name, shared_rows(), 1)
    line.report("gamma", {}, 1)
    line.ask("please")
    line.wait(10_000)
    line.report("delta", shared_rows(), 1)
    line.wait(10_000)
    barrier = line.events(RoundBarrier)[-1]
    assert dict(
        zip(
            barrier.instances.instance_id,
            zip(barrier.instances.attended, barrier.instances.counted, strict=True),
            strict=True,
        )
    ) == {"alpha": (1, 1), "beta": (1, 1), "gamma": (0, 1), "delta": (0, 0)}


def test_the_synchronization_whose_barrier_names_an_instance_first_counts_for_it() -> None:
    line = Line(collection_deadline_ms=100, acknowledgement_deadline_ms=100, update_interval_ms=60_000)
    for name in ("alpha", "beta"):
        line.report(name, shared_rows(), 1)
    line.run()
    line.report("gamma", shared_rows(), 1)  # the next update has to wait
    line.ask("please")
    line.wait(60_000)
    barrier = line.events(RoundBarrier)[-1]
    assert barrier.kind is RoundKind.UPDATE
    assert (barrier.instances.attended, barrier.instances.counted) == ((1, 1, 1), (1, 1, 1))


def test_updates_do_not_count() -> None:
    line = Line()
    for sequence in range(3):
        line.report("alpha", shared_rows(), sequence)
        line.wait(10_000)
    last = line.events(AggregationCompleted)[-1]
    assert (last.kind, last.number, last.participation.counted) == (RoundKind.UPDATE, 3, (0,))


def test_attendance_looks_at_the_last_ten_after_the_first_barrier() -> None:
    attendance = Attendance(since=2)
    assert attendance.after(2, member=True) is attendance
    for number in range(3, 15):
        attendance = attendance.after(number, member=number != 13)
    assert (attendance.bits.bit_count(), attendance.counted) == (9, 10)
    for number in range(15, 25):
        attendance = attendance.after(number, member=True)
    assert (attendance.bits.bit_count(), attendance.counted) == (10, 10)
