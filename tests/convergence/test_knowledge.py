"""The view of the shared knowledge."""

import pytest

from convergence.errors import KnowledgeIncomplete
from convergence.knowledge import Change, Knowledge
from tests.convergence.federation import (
    TOMBSTONES_MS,
    mark,
    new_bus,
    pattern_id,
    release,
    released,
    withdraw,
)


async def test_a_round_is_there_when_every_partition_has_its_mark() -> None:
    bus = await new_bus()
    await mark(bus, 0, 2)
    knowledge = Knowledge(bus, "default")
    await knowledge.poll(0)
    assert not knowledge.has(1)
    await mark(bus, 1, 1)
    await knowledge.poll(0)
    assert knowledge.has(1)
    assert not knowledge.has(2)


async def test_marks_of_other_federations_do_not_count() -> None:
    bus = await new_bus()
    await mark(bus, 0, 1)
    await mark(bus, 1, 1, federation="other")
    knowledge = Knowledge(bus, "default")
    await knowledge.poll(0)
    assert not knowledge.has(1)


async def test_before_it_is_opened_nothing_is_there() -> None:
    assert not Knowledge(await new_bus(), "default").has(0)


async def test_a_tombstone_withdraws() -> None:
    bus = await new_bus()
    await release(bus, "a", 0)
    await release(bus, "b", 1)
    knowledge = Knowledge(bus, "default")
    assert {change.pattern_id for change in await knowledge.poll(0)} == {pattern_id("a"), pattern_id("b")}
    await withdraw(bus, pattern_id("a"), 0)
    assert await knowledge.poll(0) == [Change(pattern_id("a"), None)]
    assert dict(knowledge.patterns) == {pattern_id("b"): released("b")}


async def test_the_same_again_is_no_change() -> None:
    bus = await new_bus()
    await release(bus, "a", 0)
    await release(bus, "a", 0)
    await withdraw(bus, pattern_id("c"), 0)
    assert await Knowledge(bus, "default").poll(0) == [Change(pattern_id("a"), released("a"))]


async def test_iterating_yields_changes() -> None:
    bus = await new_bus()
    await release(bus, "a", 0)
    await withdraw(bus, pattern_id("a"), 0)
    knowledge = Knowledge(bus, "default")
    assert (await anext(knowledge)).pattern == released("a")
    assert (await anext(knowledge)).pattern is None


async def test_waiting_in_vain_names_the_partitions_without_mark() -> None:
    bus = await new_bus()
    await mark(bus, 0, 4)
    with pytest.raises(
        KnowledgeIncomplete, match=r"synchronization 4 .*no mark yet in partitions 1"
    ) as raised:
        await Knowledge(bus, "default").until(4, 0.01)
    assert raised.value.missing == (1,)


async def test_a_snapshot_resumes_with_what_is_new() -> None:
    bus = await new_bus()
    await release(bus, "a", 0)
    await mark(bus, 0, 1)
    await mark(bus, 1, 1)
    first = Knowledge(bus, "default", clock=lambda: 0)
    await first.until(1, 1)
    snapshot = first.snapshot()
    await release(bus, "b", 1)
    second = Knowledge(bus, "default", snapshot, clock=lambda: TOMBSTONES_MS - 1)
    assert await second.poll(0) == [Change(pattern_id("b"), released("b"))]
    assert set(second.patterns) == {pattern_id("a"), pattern_id("b")}
    assert second.has(1)


async def test_away_for_longer_than_tombstones_are_kept_it_forgets_and_reads_again() -> None:
    bus = await new_bus()
    await release(bus, "a", 0)
    first = Knowledge(bus, "default", clock=lambda: 0)
    await first.poll(0)
    snapshot = first.snapshot()
    await release(bus, "b", 0)
    second = Knowledge(bus, "default", snapshot, clock=lambda: TOMBSTONES_MS)
    assert await second.poll(0) == [Change(pattern_id("a"), None)]
    assert {change.pattern_id for change in await second.poll(0)} == {pattern_id("a"), pattern_id("b")}
