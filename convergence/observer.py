"""One more consumer of the bus: reads what the operator may see into an ``Observation``.

All is rebuilt from the topics on start, read_committed; nothing is stored. Compacted topics are read whole,
the others as far back as ``LOOK_BACK_MS`` and at most ``MAX_RECORDS`` a partition.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Self

import structlog

from convergence.observation.explanation import Explanation
from convergence.observation.observation import TOPICS, Observation, Snapshot
from convergence.rounds import explain_round, show_round
from convergence.topics import described, everything, partition_of, poll
from schemas.convergence import RoundEvent
from schemas.dead_letters import DeadLetter
from schemas.health import InstanceHealth
from schemas.knowledge import AggregatedPattern
from schemas.partitioning import key_partition
from schemas.reports import Admission
from schemas.rounds import HandOver, RoundKind
from workers.catalogue import WORKERS
from workers.runtime.clock import unix_ms
from workers.runtime.port import Bus, BusError, OffsetLost, TopicPartition, Unavailable

log = structlog.get_logger("flc.observer")

#: How far back the history is read.
LOOK_BACK_MS = 24 * 3_600_000

#: Records of a partition that are read of it at most, by topic. Hand-overs list every instance: they are read
#: for what runs now, and windowed where a past round is asked for.
MAX_RECORDS = {
    RoundEvent.topic: 100_000,
    HandOver.topic: 12,
    Admission.topic: 2_000,
    DeadLetter.topic: 5_000,
}

#: Topics whose federation has one partition; of the others all partitions are read.
_OF_THE_FEDERATION = (InstanceHealth.topic, RoundEvent.topic, HandOver.topic)

#: Seconds between two looks at the consumer groups.
LOOK_S = 2.0

#: Seconds before the bus is tried again.
RETRY_S = 1.0

#: Seconds that reading what is there may take.
CURRENT_LIMIT_S = 60.0

#: Records that are folded without giving way to others: some 20 ms.
_BATCH = 200


class Observer:
    """Keeps an ``Observation`` of one federation current while the block runs.

    ``version`` grows with every change; ``changed`` waits for the next one. While the bus is away
    ``connected`` is False, and what was seen stays.
    """

    def __init__(self, bus: Bus, federation: str) -> None:
        self.observation = Observation(federation)
        self.federation = federation
        self.version = 0
        self.connected = False
        #: Set at the end: nothing will change any more.
        self.ended = False
        #: Set once everything that was there at the start has been read, and the groups looked at.
        self.current = asyncio.Event()
        self._bus = bus
        self._changed = asyncio.Event()
        self._tasks = asyncio.TaskGroup()
        self._running: list[asyncio.Task[None]] = []
        self._positions: dict[TopicPartition, int] = {}

    async def __aenter__(self) -> Self:
        # What fails for another reason than the bus ends the block: what stands still must not look live.
        await self._tasks.__aenter__()
        self._running = [self._tasks.create_task(self._read()), self._tasks.create_task(self._look())]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.ended = True
        self._change()
        for task in self._running:
            task.cancel()
        await self._tasks.__aexit__(kind, error, trace)

    def snapshot(self) -> Snapshot:
        """Return what is to be seen now."""
        return self.observation.snapshot(unix_ms())

    async def changed(self, version: int, timeout_s: float) -> None:
        """Wait until there is something newer than ``version``, for up to ``timeout_s``."""
        if self.version == version:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(timeout_s):
                    await self._changed.wait()

    async def explain(self, kind: RoundKind, number: int) -> Explanation:
        """Explain any round that is still on the bus; raises UnknownRound or a BusError."""
        ended = self.observation.rounds.find(kind, number)
        between_ms = None
        if ended is not None and ended.duration_ms is not None:
            between_ms = ended.ended_ms - ended.duration_ms, ended.ended_ms
        found = await show_round(self._bus, f"{self.federation}/{kind}/{number}", between_ms)
        return explain_round(found, self.observation.instances.inactive())

    def _change(self) -> None:
        self.version += 1
        self._changed.set()
        self._changed = asyncio.Event()

    # -- the topics

    async def _read(self) -> None:
        while True:
            try:
                if not self._positions:
                    self._positions = await start(self._bus, self.federation)
                await self._follow()
            except OffsetLost:
                # We were away for longer than records are kept: what we have seen has a hole.
                self._positions = {}
                self.observation = Observation(self.federation)
            except BusError as error:
                log.warning("bus.unavailable", error=str(error), retry_s=RETRY_S)
            self.connected = False
            self._change()
            await asyncio.sleep(RETRY_S)

    async def _follow(self) -> None:
        ends = await self._bus.end_offsets(self._positions)
        reader = await self._bus.reader(self._positions)
        try:
            while True:
                if not self.connected and all(self._positions[at] >= end for at, end in ends.items()):
                    await self._recall()
                    self.connected = True
                    self._change()
                records = await poll(reader, LOOK_S)
                for number, record in enumerate(records):
                    self.observation.take(record)
                    if number % _BATCH == _BATCH - 1:
                        await asyncio.sleep(0)
                self._positions = {at: reader.position(at) for at in self._positions}
                if records and self.connected:
                    self._change()
        finally:
            await reader.close()

    async def _recall(self) -> None:
        """Read the hand-overs of the last synchronization, which may lie behind those of many updates."""
        last = self.observation.rounds.synchronizations(1)
        if not last or last[0].duration_ms is None:
            return
        partition = await partition_of(self._bus, HandOver.topic, self.federation)
        between_ms = last[0].ended_ms - last[0].duration_ms, last[0].ended_ms
        async for record in everything(self._bus, (partition,), between_ms):
            self.observation.take(record)

    # -- the consumer groups

    async def _look(self) -> None:
        reading: Mapping[str, Collection[TopicPartition]] = {}
        while True:
            try:
                reading = reading or await partitions_read(self._bus)
                await look(self._bus, self.observation, reading)
                self._change()
                if self.connected:
                    self.current.set()
            except BusError as error:
                log.info("groups.not_seen", error=str(error))
            await asyncio.sleep(LOOK_S if self.current.is_set() else 0.1)


@asynccontextmanager
async def current(bus: Bus, federation: str, limit_s: float = CURRENT_LIMIT_S) -> AsyncIterator[Observer]:
    """Yield an observer that has read all that was there; raises Unavailable if it does not get there."""
    async with Observer(bus, federation) as observer:
        try:
            async with asyncio.timeout(limit_s):
                await observer.current.wait()
        except TimeoutError:
            raise Unavailable(f"what is known of {federation} could not be read in {limit_s:g} s") from None
        yield observer


async def start(bus: Bus, federation: str) -> dict[TopicPartition, int]:
    """Return where the reading of a federation begins."""
    partitions = {
        at
        for name, topic in (await described(bus, TOPICS)).items()
        for at in _partitions(name, topic.partitions, federation)
    }
    beginnings, ends = await asyncio.gather(bus.beginning_offsets(partitions), bus.end_offsets(partitions))
    whole = {at for at in partitions if at.topic in {InstanceHealth.topic, AggregatedPattern.topic}}
    recent = await bus.offsets_at(partitions - whole, unix_ms() - LOOK_BACK_MS)
    return {at: beginnings[at] for at in whole} | {
        at: max(beginnings[at], min(offset, ends[at]), ends[at] - MAX_RECORDS[at.topic])
        for at, offset in recent.items()
    }


def _partitions(topic: str, count: int, federation: str) -> list[TopicPartition]:
    if topic in _OF_THE_FEDERATION:
        return [TopicPartition(topic, key_partition(federation, count))]
    return [TopicPartition(topic, number) for number in range(count)]


async def partitions_read(bus: Bus) -> dict[str, list[TopicPartition]]:
    """Return the partitions that each worker reads, over all its processes."""
    topics = await described(bus, {topic for worker in WORKERS.values() for topic in worker.inputs})
    return {
        name: [TopicPartition(topic, n) for topic in worker.inputs for n in range(topics[topic].partitions)]
        for name, worker in WORKERS.items()
    }


async def look(bus: Bus, observation: Observation, reading: Mapping[str, Collection[TopicPartition]]) -> None:
    """Look once at the groups of all workers, and at the ends of what they read."""
    ends = await bus.end_offsets({at for partitions in reading.values() for at in partitions})
    groups = await asyncio.gather(*(bus.group(worker) for worker in reading))
    now_ms = unix_ms()
    for (worker, partitions), group in zip(reading.items(), groups, strict=True):
        observation.workers.see(worker, group, {at: ends[at] for at in partitions}, now_ms)
