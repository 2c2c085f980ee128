"""Parts: split, put together, none too large."""

from schemas.aggregation import PartialAggregate, RoundBarrier
from schemas.convergence import SynchronizationCompleted
from schemas.rounds import (
    AggregationCompleted,
    CollectionCompleted,
    DetectionCompleted,
    DistributionCompleted,
    ValidationCompleted,
)
from tests.workers.line import Line, names, shared_rows
from workers.handover import join, split


def large_federation(line: Line, count: int) -> list[str]:
    """Append the reports of many instances of nine organisations, in few records."""
    instances = list(names(count))
    rows = shared_rows()
    line.contribute({name: (f"org-{index % 9}", 1, rows) for index, name in enumerate(instances)})
    for index, name in enumerate(instances):
        line.see(name, 1, organisation=f"org-{index % 9}", pattern_count=len(rows))
    return instances


def test_a_round_of_many_instances_travels_in_parts_sorted_over_all_of_them() -> None:
    line = Line(collection_deadline_ms=1_000, acknowledgement_deadline_ms=1_000, batch=1_500)
    instances = large_federation(line, 2_001)
    line.ask("please")
    line.wait(30_000)

    for kind in (
        CollectionCompleted,
        ValidationCompleted,
        AggregationCompleted,
        DetectionCompleted,
        DistributionCompleted,
    ):
        parts = [each for each in line.events(kind) if each.kind == "synchronization"]
        assert [part.part for part in parts] == [0, 1, 2]
        assert [name for part in parts for name in part.instances.instance_id] == instances
        assert {part.commands for part in parts} == {("please",)}
    barriers = [each for each in line.events(RoundBarrier) if each.kind == "synchronization"]
    assert len(barriers) == 3 * 3
    partials = [each for each in line.events(PartialAggregate) if each.round_id.endswith("synchronization/1")]
    assert [len(each.sums) for each in partials] == [1_000, 1_000, 1] * 3
    results = line.events(SynchronizationCompleted)
    assert [len(result.instance_scores) for result in results] == [1_000, 1_000, 1]
    assert {result.instance_count for result in results} == {2_001}
    assert [scores.instance_id for result in results for scores in result.instance_scores] == instances


def test_only_the_last_part_has_the_totals() -> None:
    line = Line(collection_deadline_ms=1_000, acknowledgement_deadline_ms=1_000)
    large_federation(line, 1_001)
    line.ask("please")
    line.wait(30_000)
    first, last = line.events(DistributionCompleted)
    assert (first.global_scores, first.criteria, first.converged, first.releases) == (None, (), None, None)
    assert last.global_scores is not None
    assert len(last.criteria) == 4
    assert last.releases is not None
    assert last.releases.released == 3


def test_what_is_split_and_joined_is_the_same() -> None:
    line = Line(collection_deadline_ms=1_000, acknowledgement_deadline_ms=1_000)
    large_federation(line, 1_001)
    line.ask("please")
    line.wait(30_000)
    parts = line.events(DistributionCompleted)
    assert sum(len(part.covers) for part in parts) == 1_001
    assert [len(part.missing) for part in parts] == [0, 0]  # all of them were stragglers
    assert list(split(join(parts))) == parts


def test_a_hand_over_without_instances_is_one_part() -> None:
    line = Line()
    line.report("alpha", shared_rows(), 1)
    line.run()
    (part,) = line.events(CollectionCompleted)
    empty = part.model_copy(
        update={
            "instances": part.instances.model_copy(
                update=dict.fromkeys(type(part.instances).model_fields, ())
            ),
            "covers": (),
        }
    )
    assert list(split(empty)) == [empty]
