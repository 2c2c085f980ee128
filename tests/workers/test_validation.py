"""Who is dropped, what an organisation may weigh, and the quorum."""

from schemas.convergence import ConvergenceUpdated, RoundAbandoned
from schemas.reasons import DropReason
from schemas.rounds import CollectionCompleted, RoundKind, ValidationCompleted
from tests.workers.line import Line, shared_rows
from workers.fold import Outcome


def validated(line: Line) -> ValidationCompleted:
    return line.events(ValidationCompleted)[-1]


def test_an_instance_without_patterns_is_dropped() -> None:
    line = Line()
    line.report("alpha", shared_rows(), 1)
    line.report("beta", {}, 1)
    line.run()
    assert validated(line).instances.drop_reason == (None, DropReason.NO_PATTERNS)
    assert validated(line).instances.weight == (500_000, 0)


def test_an_instance_of_low_quality_is_dropped_and_one_at_the_threshold_is_not() -> None:
    line = Line()
    line.report("alpha", shared_rows(), 1, data_quality=699_999)
    line.report("beta", shared_rows(), 1, data_quality=700_000)
    line.run()
    assert validated(line).instances.drop_reason == (DropReason.LOW_QUALITY, None)


def test_the_covers_say_why_an_instance_was_dropped() -> None:
    line = Line()
    line.report("alpha", shared_rows(), 1, data_quality=0)
    line.report("beta", {}, 1)
    line.report("gamma", shared_rows(), 1)
    line.run()
    (update,) = line.events(ConvergenceUpdated)
    assert [cover.outcome for cover in update.covers] == ["low_quality", "no_patterns", "included"]


def test_weights_are_capped_over_the_cohort_alone() -> None:
    line = Line()
    for name, organisation in (("a1", "a"), ("a2", "a"), ("b", "b"), ("c", "c")):
        line.report(name, shared_rows(), 1, organisation)
    line.report("z", {}, 1)
    line.run()
    # a holds 1,000,000 of 2,000,000: exactly one half, which three organisations allow
    assert validated(line).instances.weight == (500_000, 500_000, 500_000, 500_000, 0)

    line.report("a3", shared_rows(), 1, "a")
    line.wait(1_000)
    assert validated(line).instances.weight == (333_333, 333_333, 333_333, 500_000, 500_000, 0)


def test_below_the_quorum_a_synchronization_is_abandoned_and_an_update_goes_on() -> None:
    line = Line(collection_deadline_ms=1_000)
    line.report("alpha", shared_rows(), 1)
    line.report("beta", {}, 1)
    line.ask("please")
    line.wait(1_000)
    (abandoned,) = line.events(RoundAbandoned)
    assert (abandoned.phase, abandoned.instance_count, abandoned.min_instances) == ("validation", 1, 2)
    assert abandoned.dropped == {DropReason.NO_PATTERNS: 1}
    assert abandoned.commands == ("please",)
    assert {each.kind for each in line.events(ValidationCompleted)} == {RoundKind.UPDATE}


def test_a_collection_that_comes_twice_is_a_duplicate() -> None:
    line = Line()
    line.report("alpha", shared_rows(), 1)
    line.run()
    (collection,) = line.events(CollectionCompleted)
    line.publish(collection, collection.round_id, line.federation_partition(), "again")
    line.run()
    assert len(line.events(ValidationCompleted)) == 1
    assert line.handled["validation", CollectionCompleted.topic, Outcome.DUPLICATE] == 1


def test_validation_starts_where_the_collection_ends() -> None:
    line = Line()
    line.report("alpha", shared_rows(), 1)
    line.step("collection")
    line.now_ms += 7
    line.run()
    (collection,) = line.events(CollectionCompleted)
    appended = [
        record.append_ms
        for record in line.log
        if dict(record.headers).get("ce_type") == b"CollectionCompleted"
    ]
    assert collection.phase_started_ms == {"collection": collection.opened_at_ms}
    assert validated(line).phase_started_ms == {
        "collection": collection.opened_at_ms,
        "validation": appended[0],
    }
