"""The bus in memory: for tests, and for a federation in one process. Several buses may share one log."""

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence

from workers.fold import Record
from workers.runtime.memory_group import MemoryConsumer, group_of
from workers.runtime.memory_log import Fate, Log
from workers.runtime.port import (
    BusError,
    Fenced,
    GroupDescription,
    Message,
    Rebalanced,
    Sent,
    TopicDescription,
    TopicPartition,
)

__all__ = ["Log", "MemoryBus"]


class MemoryProducer:
    """See ``port.Producer``."""

    def __init__(self, log: Log) -> None:
        self._log = log

    async def send(self, messages: Sequence[Message]) -> list[Sent]:
        """Send all."""
        return [self._log.append(message) for message in messages]

    async def close(self) -> None:
        """Nothing to release."""


class MemoryTransactionalProducer:
    """See ``port.TransactionalProducer``."""

    def __init__(self, log: Log, transactional_id: str, timeout_ms: int) -> None:
        self._log = log
        self._id = transactional_id
        self._timeout_ms = timeout_ms
        self._number = log.own(transactional_id)
        self._dead = False

    async def transact(
        self, messages: Sequence[Message], before_commit: Callable[[], None] | None = None
    ) -> list[Sent]:
        """Send all in one transaction; after an error it stays open, as a crash leaves it."""
        if self._dead:
            raise BusError(f"the producer {self._id} failed before or is closed")
        self._dead = True
        transaction = self._log.begin(self._id, self._number, self._timeout_ms)
        sent = [self._log.append(message, transaction) for message in messages]
        await asyncio.sleep(0)  # others see the open transaction, as they would on a broker
        if before_commit is not None:
            before_commit()
        self._log.check(self._id, self._number)
        for at in transaction.partitions:
            self._log.partition(at)  # applies the time-out
        if transaction.fate is not Fate.OPEN:
            raise Fenced(f"{self._id}: the transaction timed out")
        self._log.end(transaction, Fate.COMMITTED)
        self._dead = False
        return sent

    async def close(self) -> None:
        """Send no more."""
        self._dead = True


class MemoryReader:
    """See ``port.Reader``."""

    def __init__(self, log: Log, positions: Mapping[TopicPartition, int]) -> None:
        self._log = log
        self._positions: dict[TopicPartition, int] = {}
        for at, offset in positions.items():
            partition = log.partition(at)
            self._positions[at] = {-1: partition.stable, -2: partition.start}.get(offset, offset)

    async def poll(self, timeout_s: float, max_records: int = 5_000) -> list[Record]:
        """Return what is there."""
        found = self._fetch(max_records)
        if not found:
            await self._log.changed(timeout_s)
            found = self._fetch(max_records)
        return found

    def _fetch(self, max_records: int) -> list[Record]:
        found: list[Record] = []
        for at, position in self._positions.items():
            records, self._positions[at] = self._log.partition(at).read(position, max_records - len(found))
            found += records
        return found

    def seek(self, partition: TopicPartition, offset: int) -> None:
        """Read on from ``offset``."""
        self._positions[partition] = offset

    def position(self, partition: TopicPartition) -> int:
        """Return the next offset to be read."""
        return self._positions[partition]

    async def close(self) -> None:
        """Nothing to release."""


class MemoryBus:
    """See ``port.Bus``."""

    def __init__(self, log: Log | None = None) -> None:
        self.log = log or Log()

    async def producer(self) -> MemoryProducer:
        """Return a producer."""
        return MemoryProducer(self.log)

    async def transactional_producer(
        self, transactional_id: str, timeout_ms: int
    ) -> MemoryTransactionalProducer:
        """Return a producer that owns ``transactional_id`` from now on."""
        return MemoryTransactionalProducer(self.log, transactional_id, timeout_ms)

    async def reader(self, positions: Mapping[TopicPartition, int]) -> MemoryReader:
        """Return a reader at the given offsets (-1: the end, -2: the beginning)."""
        return MemoryReader(self.log, positions)

    async def consumer(
        self, group: str, topics: Sequence[str], *, assigned: Rebalanced, revoked: Rebalanced
    ) -> MemoryConsumer:
        """Return a member of ``group``; its first assignment follows."""
        for topic in topics:
            self.log.topic(topic)
        members = group_of(self.log, group)
        consumer = MemoryConsumer(self.log, members, topics, assigned, revoked)
        members.join(consumer)
        return consumer

    async def end_offsets(
        self, partitions: Collection[TopicPartition], *, committed: bool = True
    ) -> dict[TopicPartition, int]:
        """Return the end of each partition."""
        found = {at: self.log.partition(at) for at in partitions}
        return {at: partition.stable if committed else partition.end for at, partition in found.items()}

    async def beginning_offsets(self, partitions: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        """Return the first offset of each partition."""
        return {at: self.log.partition(at).start for at in partitions}

    async def offsets_at(
        self, partitions: Collection[TopicPartition], time_ms: int
    ) -> dict[TopicPartition, int]:
        """Return the first offset of each partition whose append time is ``time_ms`` or later, or its end."""
        return {
            at: next(
                (record.offset for record in self.log.records(at) if record.append_ms >= time_ms),
                self.log.partition(at).stable,
            )
            for at in partitions
        }

    async def group(self, name: str) -> GroupDescription:
        """Return a consumer group."""
        return group_of(self.log, name).description()

    async def describe(self, topics: Collection[str]) -> dict[str, TopicDescription]:
        """Return the topics that exist."""
        return {name: self.log.topics[name] for name in topics if name in self.log.topics}

    async def create(self, topics: Collection[TopicDescription]) -> None:
        """Create topics."""
        for topic in topics:
            self.log.create(topic)

    async def configure(self, topic: str, configs: Mapping[str, str]) -> None:
        """Set configs of a topic; what else is set on it stays."""
        self.log.configure(topic, dict(configs))

    async def close(self) -> None:
        """Nothing to release."""
