"""The shared knowledge of a federation: the released patterns, and whether those of a round are all there."""

import asyncio
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType, TracebackType
from typing import Self

from convergence.errors import KnowledgeIncomplete
from convergence.events import event_type, read
from convergence.sequence import Clock, now_ms
from convergence.topics import POLL_S, described, poll
from schemas.knowledge import AggregatedPattern, KnowledgeMark
from workers.fold import Record
from workers.runtime.port import Bus, OffsetLost, Reader, TopicPartition

#: How long the bus keeps tombstones unless its topic says otherwise: Kafka's default of delete.retention.ms.
TOMBSTONES_MS = 86_400_000


@dataclass(frozen=True, slots=True)
class Change:
    """One pattern came, changed, or (``pattern`` None) was withdrawn."""

    pattern_id: str
    pattern: AggregatedPattern | None


@dataclass(frozen=True, slots=True)
class KnowledgeSnapshot:
    """What a reader knows and from where it reads on, to resume another day."""

    read_ms: int
    positions: Mapping[int, int]
    patterns: Mapping[str, AggregatedPattern]
    marks: Mapping[int, int]


class Knowledge:
    """A view of flc.knowledge.v1 that grows as it is read, and an async iterator of what changes.

    It has round r when the mark of every partition is at least r. A reader that was away for longer than the
    bus keeps tombstones could miss a withdrawal: it forgets what it had and reads from the beginning.
    """

    def __init__(
        self, bus: Bus, federation: str, resume: KnowledgeSnapshot | None = None, clock: Clock = now_ms
    ) -> None:
        known = resume or KnowledgeSnapshot(clock(), {}, {}, {})
        self._bus = bus
        self._federation = federation
        self._clock = clock
        self._reader: Reader | None = None
        self._partitions: tuple[TopicPartition, ...] = ()
        self._tombstones_ms = TOMBSTONES_MS
        self._read_ms = known.read_ms
        self._positions = dict(known.positions)
        self._patterns = dict(known.patterns)
        self._marks = dict(known.marks)
        self._changes: deque[Change] = deque()

    @property
    def patterns(self) -> Mapping[str, AggregatedPattern]:
        """The released patterns by their id, as far as they have been read."""
        return MappingProxyType(self._patterns)

    def has(self, number: int) -> bool:
        """Tell whether all knowledge of synchronization ``number`` has been read."""
        return bool(self._partitions) and not self._missing(number)

    def _missing(self, number: int) -> list[int]:
        return [p.partition for p in self._partitions if self._marks.get(p.partition, -1) < number]

    def snapshot(self) -> KnowledgeSnapshot:
        """Return what is known now and from where to read on."""
        return KnowledgeSnapshot(
            self._read_ms, dict(self._positions), dict(self._patterns), dict(self._marks)
        )

    async def open(self) -> None:
        """Start reading; without it, the first use does so."""
        if self._reader is not None:
            return
        topic = (await described(self._bus, (AggregatedPattern.topic,)))[AggregatedPattern.topic]
        self._partitions = tuple(TopicPartition(topic.name, number) for number in range(topic.partitions))
        self._tombstones_ms = int(topic.configs.get("delete.retention.ms", TOMBSTONES_MS))
        if set(self._positions) != set(range(topic.partitions)):
            await self._rewind()
        self._reader = await self._bus.reader({p: self._positions[p.partition] for p in self._partitions})

    async def _rewind(self) -> list[Change]:
        """Forget everything, which withdraws it, and read from the beginning."""
        # First: if the bus is away, nothing has been forgotten that nobody was told.
        beginnings = await self._bus.beginning_offsets(self._partitions)
        forgotten = [Change(pattern_id, None) for pattern_id in self._patterns]
        self._patterns.clear()
        self._marks.clear()
        self._positions = {partition.partition: offset for partition, offset in beginnings.items()}
        self._read_ms = self._clock()
        if self._reader is not None:
            for partition, offset in beginnings.items():
                self._reader.seek(partition, offset)
        return forgotten

    async def poll(self, timeout_s: float) -> list[Change]:
        """Read what is there, waiting up to ``timeout_s`` for a first record, and return what it changed."""
        await self.open()
        assert self._reader is not None  # noqa: S101  (open has set it)
        if self._clock() - self._read_ms >= self._tombstones_ms:
            return await self._rewind()
        try:
            records = await poll(self._reader, timeout_s)
        except OffsetLost:
            return await self._rewind()
        self._read_ms = self._clock()
        changes = [change for record in records if (change := self._take(record)) is not None]
        for partition in self._partitions:
            self._positions[partition.partition] = self._reader.position(partition)
        return changes

    def _take(self, record: Record) -> Change | None:
        key = (record.key or b"").decode("ascii", "replace")
        if event_type(record) == KnowledgeMark.__name__:
            mark = read(record, KnowledgeMark)
            if mark is not None and mark.federation == self._federation:
                self._marks[record.partition] = max(mark.number, self._marks.get(record.partition, -1))
            return None
        federation, _, pattern_id = key.partition("/")
        if federation != self._federation:
            return None
        if record.value is None:
            withdrawn = self._patterns.pop(pattern_id, None)
            return None if withdrawn is None else Change(pattern_id, None)
        pattern = read(record, AggregatedPattern)
        if pattern is None or pattern == self._patterns.get(pattern.pattern_id):
            return None
        self._patterns[pattern.pattern_id] = pattern
        return Change(pattern.pattern_id, pattern)

    async def until(self, number: int, timeout_s: float) -> list[Change]:
        """Read until everything of synchronization ``number`` is there and return what changed on the way.

        Raises KnowledgeIncomplete.
        """
        await self.open()
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_s
        changes: list[Change] = []
        while missing := self._missing(number):
            remaining_s = deadline - loop.time()
            if remaining_s <= 0:
                raise KnowledgeIncomplete(self._federation, number, missing, timeout_s)
            changes += await self.poll(min(remaining_s, POLL_S))
        return changes

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Change:
        while not self._changes:
            self._changes += await self.poll(POLL_S)
        return self._changes.popleft()

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Stop reading; what was read stays readable."""
        if self._reader is not None:
            reader, self._reader = self._reader, None
            await reader.close()
