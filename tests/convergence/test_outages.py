"""The bus goes away, and comes back."""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from contextlib import aclosing
from pathlib import Path

import pytest

from convergence.deployment import Deployment
from convergence.events import read
from convergence.knowledge import Change, Knowledge
from convergence.outbox import Outbox
from convergence.patterns import Pattern
from convergence.subscription import follow, subscribe
from convergence.topics import STALLED_S, everything
from schemas.convergence import RoundEvent, SynchronizationAnnounced
from schemas.instances import Heartbeat
from schemas.partitioning import key_partition
from schemas.reports import PatternReport
from tests.convergence.federation import (
    PARTITIONS,
    announcement,
    cover,
    new_bus,
    new_settings,
    pattern_id,
    records,
    release,
    result,
    write,
)
from workers.fold import Record
from workers.runtime.memory import MemoryBus, MemoryProducer, MemoryReader
from workers.runtime.port import Corrupt, Message, OffsetLost, Sent, TopicPartition, Unavailable


class _Producer(MemoryProducer):
    """As the one of Kafka: one send at a time, and dead after a failure."""

    def __init__(self, bus: "_Bus") -> None:
        super().__init__(bus.log)
        self._bus = bus
        self._dead = False

    async def send(self, messages: Sequence[Message]) -> list[Sent]:
        if self._dead:
            raise Unavailable("dead")
        self._dead = True
        await asyncio.sleep(0)
        if self._bus.send_failures:
            raise self._bus.send_failures.pop()
        self._dead = False
        return await super().send(messages)


class _Reader(MemoryReader):
    def __init__(self, bus: "_Bus", positions: Mapping[TopicPartition, int]) -> None:
        super().__init__(bus.log, positions)
        self._bus = bus

    async def poll(self, timeout_s: float, max_records: int = 5_000) -> list[Record]:
        if self._bus.poll_failures:
            raise self._bus.poll_failures.pop()
        return await super().poll(timeout_s, max_records)


class _Bus(MemoryBus):
    """Fails as it is told."""

    def __init__(self, bus: MemoryBus) -> None:
        super().__init__(bus.log)
        self.send_failures: list[Exception] = []
        self.poll_failures: list[Exception] = []
        self.offset_failures: list[Exception] = []

    async def beginning_offsets(self, partitions: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        if self.offset_failures:
            raise self.offset_failures.pop()
        return await super().beginning_offsets(partitions)

    async def producer(self) -> MemoryProducer:
        return _Producer(self)

    async def reader(self, positions: Mapping[TopicPartition, int]) -> MemoryReader:
        return _Reader(self, positions)


async def _no_wait(_seconds: float) -> None:
    """Let others run instead of waiting."""
    await asyncio.sleep(0)


async def test_messages_that_are_sent_at_once_go_out_one_after_the_other() -> None:
    bus = _Bus(await new_bus())
    outbox = Outbox(bus)
    messages = [Message(Heartbeat.topic, 0, None, str(number).encode()) for number in range(5)]
    await asyncio.gather(*map(outbox.send, messages))
    assert [record.value for record in await records(bus, Heartbeat.topic)] == [b"0", b"1", b"2", b"3", b"4"]


async def test_after_a_failed_send_the_next_one_gets_a_new_producer() -> None:
    bus = _Bus(await new_bus())
    outbox = Outbox(bus)
    bus.send_failures.append(Unavailable("away"))
    message = Message(Heartbeat.topic, 0, None, b"1")
    with pytest.raises(Unavailable, match="away"):
        await outbox.send(message)
    await outbox.send(message)
    assert len(await records(bus, Heartbeat.topic)) == 1


async def test_heartbeats_go_on_after_an_outage(tmp_path: Path) -> None:
    bus = _Bus(await new_bus())
    async with Deployment(bus, new_settings(tmp_path), "berlin", "acme", wait=_no_wait):
        await records(bus, Heartbeat.topic, 1)
        bus.send_failures += [Unavailable("away"), Unavailable("away")]
        before = len(await records(bus, Heartbeat.topic))
        await records(bus, Heartbeat.topic, before + 2)
    assert not bus.send_failures


_CORRUPT = Corrupt(TopicPartition(RoundEvent.topic, key_partition("default", PARTITIONS)), 0, "bad batch")


@pytest.mark.parametrize("failure", [Unavailable("away"), OffsetLost("gone"), _CORRUPT], ids=str)
async def test_an_answer_is_found_after_an_outage(tmp_path: Path, failure: Exception) -> None:
    bus = _Bus(await new_bus())
    watch = MemoryBus(bus.log)
    deployment = Deployment(
        bus, new_settings(tmp_path), "berlin", "acme", wait=lambda _: asyncio.sleep(0.001)
    )
    async with deployment:
        waiting = asyncio.create_task(deployment.publish([Pattern("p", "behavioral")]))
        (record,) = await records(watch, PatternReport.topic, 1)
        report = read(record, PatternReport)
        assert report is not None
        bus.poll_failures.append(failure)
        await write(watch, result(1), result(2, cover("berlin", report.sequence)))
        await write(watch, result(3))
        assert (await waiting).result.number == 2


async def test_who_comes_back_too_late_for_what_it_missed_waits_for_a_bus_that_goes_away_again() -> None:
    bus = _Bus(await new_bus())
    await write(bus, result(1))
    events = subscribe(bus, "default")
    await events.open()
    bus.poll_failures.append(OffsetLost("gone"))
    bus.offset_failures.append(Unavailable("away"))
    async with aclosing(follow(events, _no_wait)) as heard:
        assert (await anext(heard)).number == 1
    assert not bus.offset_failures


async def test_what_is_forgotten_is_withdrawn_though_the_bus_goes_away_in_the_middle() -> None:
    bus = _Bus(await new_bus())
    await release(bus, "a", 0)
    knowledge = Knowledge(bus, "default")
    await knowledge.poll(0)
    bus.poll_failures.append(OffsetLost("gone"))
    bus.offset_failures.append(Unavailable("away"))
    with pytest.raises(Unavailable):
        await knowledge.poll(0)
    bus.poll_failures.append(OffsetLost("gone"))
    assert await knowledge.poll(0) == [Change(pattern_id("a"), None)]


async def test_an_answer_that_cannot_be_sent_is_missed_and_the_next_one_is_not(tmp_path: Path) -> None:
    bus = _Bus(await new_bus())
    watch = MemoryBus(bus.log)
    async with Deployment(bus, new_settings(tmp_path), "berlin", "acme") as deployment:
        waiting = asyncio.create_task(deployment.publish([Pattern("p", "behavioral")]))
        (record,) = await records(watch, PatternReport.topic, 1)
        report = read(record, PatternReport)
        assert report is not None
        await records(watch, Heartbeat.topic, 1)
        bus.send_failures.append(Unavailable("away"))
        both = [announcement(SynchronizationAnnounced, number) for number in (1, 2)]
        await write(watch, *both, result(1, cover("berlin", report.sequence)))
        await waiting
        assert len(await records(watch, PatternReport.topic, 2)) == 2


async def test_a_duty_that_fails_for_good_is_not_waited_for(tmp_path: Path) -> None:
    bus = _Bus(await new_bus())
    deployment = Deployment(bus, new_settings(tmp_path), "berlin", "acme")
    await deployment.__aenter__()
    bus.poll_failures.append(RuntimeError("broken"))
    with pytest.raises(RuntimeError, match="broken"):
        await deployment.publish([Pattern("p", "behavioral")])
    with pytest.raises(RuntimeError, match="broken"):
        await deployment.__aexit__(None, None, None)


async def test_reading_what_is_there_does_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    bus = _Bus(await new_bus())
    partition = TopicPartition(RoundEvent.topic, key_partition("default", PARTITIONS))
    await write(bus, result(1))
    monkeypatch.setattr(_Reader, "poll", _nothing)
    moments = iter((0.0, STALLED_S, STALLED_S + 1))
    monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: next(moments))
    with pytest.raises(Unavailable, match="does not go on"):
        async for _ in everything(bus, (partition,)):
            pass
    monkeypatch.undo()


async def _nothing(_self: _Reader, _timeout_s: float, _max_records: int = 0) -> list[Record]:
    return []
