"""The work for one record does not grow with the number of instances: counted in calls, not in seconds."""

import sys
from collections.abc import Callable

import pytest

from schemas.health import Status
from schemas.rounds import CollectionCompleted, RoundKind
from tests.workers.line import Line, names, shared_rows


def calls(work: Callable[[], object]) -> int:
    """Return how many calls ``work`` makes; every turn of a generator is one."""
    count = 0

    def counted(_frame: object, event: str, _argument: object) -> None:
        nonlocal count
        count += event in {"call", "c_call"}

    sys.setprofile(counted)
    try:
        work()
    finally:
        sys.setprofile(None)
    return count


def one_answer_while_half_is_away(instances: int) -> int:
    """Return the calls of the collection for a report, while a synchronization collects."""
    line = Line(buckets=1, update_interval_ms=1_000_000_000)  # an update looks at everybody, once a round
    for number, name in enumerate(names(instances)):
        line.see(name, 1, status=Status.INACTIVE if number < instances // 2 else Status.ACTIVE)
        line.contribute({name: (name, 1, shared_rows())})
    line.wait(1_000)
    line.ask("please")
    line.run()
    *_, last = names(instances)
    line.see(last, 2)
    step = calls(lambda: line.step_partition("collection", line.federation_partition()))
    assert [each for each in line.events(CollectionCompleted) if each.kind is RoundKind.SYNCHRONIZATION] == []
    return step


def removals_in_a_barrier(instances: int) -> int:
    """Return the calls of the aggregation for a barrier after everybody but one has left."""
    line = Line(buckets=1)
    line.report("remaining", shared_rows(), 1)
    line.contribute({name: (name, 1, shared_rows()) for name in names(instances)})
    line.contribute({name: (name, 1, {}) for name in names(instances)}, removed=True)
    for worker in ("aggregation", "collection", "validation", "consensus"):
        line.step(worker)
    return calls(lambda: line.step_partition("aggregation", 0))


def test_a_report_that_a_synchronization_waited_for() -> None:
    few, many = one_answer_while_half_is_away(20), one_answer_while_half_is_away(200)
    assert many == pytest.approx(few, rel=0.1)


def test_those_who_left_before_a_barrier() -> None:
    few, many = removals_in_a_barrier(20), removals_in_a_barrier(200)
    assert many < 11 * few
