"""Subscriptions to the convergence topic."""

import pytest

from convergence.errors import TopicsMissing
from convergence.subscription import subscribe
from schemas.convergence import ConvergenceUpdated
from schemas.rounds import RoundKind
from tests.convergence.federation import cover, new_bus, result, write
from workers.runtime.memory import MemoryBus


async def test_from_the_end_only_what_comes_later_is_seen() -> None:
    bus = await new_bus()
    await write(bus, result(1))
    async with subscribe(bus, "default") as events:
        await write(bus, result(2))
        event = await anext(events)
    assert event.number == 2


async def test_from_the_beginning_everything_is_seen_in_order() -> None:
    bus = await new_bus()
    await write(bus, result(1), result(2), result(3))
    numbers = []
    async for event in subscribe(bus, "default", "beginning"):
        numbers.append(event.number)
        if event.number == 3:
            break
    assert numbers == [1, 2, 3]


async def test_parts_come_joined() -> None:
    bus = await new_bus()
    await write(
        bus,
        result(1, cover("a", 1), cover("b", 2), part=0, parts=2),
        result(1, cover("c", 3), part=1, parts=2),
    )
    event = await anext(subscribe(bus, "default", "beginning"))
    assert isinstance(event, ConvergenceUpdated)
    assert [scores.instance_id for scores in event.instance_scores] == ["a", "b", "c"]
    assert [item.sequence for item in event.covers] == [1, 2, 3]
    assert (event.part, event.parts) == (0, 1)


async def test_reading_that_begins_in_the_middle_of_parts_goes_on_with_the_next_round() -> None:
    bus = await new_bus()
    await write(bus, result(1, part=1, parts=2), result(2, part=0, parts=2), result(2, part=1, parts=2))
    events = subscribe(bus, "default", "beginning")
    assert (await anext(events)).number == 2
    assert events.position == 3


async def test_a_position_resumes_behind_what_was_returned_not_behind_what_was_fetched() -> None:
    bus = await new_bus()
    await write(bus, result(1), result(2), result(3))
    first = subscribe(bus, "default", "beginning")
    assert (await anext(first)).number == 1
    assert first.position is not None
    await first.close()
    assert (await anext(subscribe(bus, "default", first.position))).number == 2


async def test_a_position_is_never_in_the_middle_of_parts() -> None:
    bus = await new_bus()
    synchronization = RoundKind.SYNCHRONIZATION
    await write(
        bus,
        result(1, part=0, parts=2, kind=synchronization),
        result(7),
        result(1, part=1, parts=2, kind=synchronization),
    )
    events = subscribe(bus, "default", "beginning")
    assert (await anext(events)).number == 7
    assert events.position == 0
    assert (await anext(events)).kind is synchronization
    assert events.position == 3


async def test_a_closed_subscription_goes_on_where_it_was() -> None:
    bus = await new_bus()
    await write(bus, result(1), result(2))
    events = subscribe(bus, "default", "beginning")
    assert (await anext(events)).number == 1
    await events.close()
    assert (await anext(events)).number == 2
    assert await events.next(0) is None


async def test_other_federations_are_passed_over() -> None:
    bus = await new_bus()
    stranger = result(7).model_copy(update={"federation": "other"})
    await write(bus, stranger, partition=0)
    await write(bus, stranger, partition=1)
    await write(bus, result(1))
    assert (await anext(subscribe(bus, "default", "beginning"))).number == 1


async def test_missing_topics_are_named() -> None:
    with pytest.raises(TopicsMissing, match=r"flc\.convergence\.v1 .*flc topics apply"):
        await subscribe(MemoryBus(), "default").open()
