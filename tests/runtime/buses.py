"""Buses in memory that fail, or whose groups do as a test says."""

import asyncio
from collections.abc import Callable, Collection, Sequence

from workers.fold import Record
from workers.runtime.memory import Log, MemoryBus, MemoryTransactionalProducer
from workers.runtime.memory_group import MemoryConsumer, group_of
from workers.runtime.port import (
    Corrupt,
    Message,
    Rebalanced,
    Sent,
    TopicDescription,
    TopicPartition,
    TransactionalProducer,
    Unavailable,
)


class Faults:
    """Failures that a test asks for: how many transactions fail before, and after, their commit."""

    def __init__(self) -> None:
        self.before_commit = 0
        self.after_commit = 0
        self.away = False


class FaultyProducer:
    """Fails as a broker that goes away in the middle does."""

    def __init__(self, inner: TransactionalProducer, faults: Faults) -> None:
        self._inner = inner
        self._faults = faults

    async def transact(
        self, messages: Sequence[Message], before_commit: Callable[[], None] | None = None
    ) -> list[Sent]:
        def fail() -> None:
            if before_commit is not None:
                before_commit()
            if self._faults.before_commit and len(messages) > 1:
                self._faults.before_commit -= 1
                raise Unavailable("before the commit")

        sent = await self._inner.transact(messages, fail)
        if self._faults.after_commit and len(messages) > 1:
            self._faults.after_commit -= 1
            raise Unavailable("after the commit")
        return sent

    async def close(self) -> None:
        await self._inner.close()


class FaultyBus(MemoryBus):
    """A bus whose transactions fail when told to."""

    def __init__(self, log: Log) -> None:
        super().__init__(log)
        self.faults = Faults()

    async def transactional_producer(self, transactional_id: str, timeout_ms: int) -> FaultyProducer:  # type: ignore[override]
        if self.faults.away:
            raise Unavailable("away")
        return FaultyProducer(await super().transactional_producer(transactional_id, timeout_ms), self.faults)

    async def describe(self, topics: Collection[str]) -> dict[str, TopicDescription]:
        if self.faults.away:
            raise Unavailable("away")
        return await super().describe(topics)


class OwnGroupBus(MemoryBus):
    """A bus whose members are in a group of their own: they believe that they own what others own too."""

    async def consumer(
        self, group: str, topics: Sequence[str], *, assigned: Rebalanced, revoked: Rebalanced
    ) -> MemoryConsumer:
        return await super().consumer(f"{group}.own", topics, assigned=assigned, revoked=revoked)


class HeldConsumer(MemoryConsumer):
    """A member for which one batch is bytes that nobody can decode."""

    corrupt: Corrupt | None = None

    def _fetch(self, max_records: int) -> dict[TopicPartition, list[Record]]:
        if self.corrupt is not None and self._reads(self.corrupt):
            at, why, end = self.corrupt.partition, str(self.corrupt), self.corrupt.next_offset
            raise Corrupt(at, self.position(at), why, end)
        return super()._fetch(max_records)

    def _reads(self, corrupt: Corrupt) -> bool:
        at = corrupt.partition
        fetches = at in self.assignment() and at not in self._paused
        return fetches and corrupt.offset <= self.position(at) < corrupt.next_offset


class HeldBus(MemoryBus):
    """A bus whose one member is revoked and assigned when the test says so."""

    member: HeldConsumer
    corrupt: Corrupt | None = None

    async def consumer(
        self, group: str, topics: Sequence[str], *, assigned: Rebalanced, revoked: Rebalanced
    ) -> HeldConsumer:
        members = group_of(self.log, group)
        self.member = HeldConsumer(self.log, members, topics, assigned, revoked)
        self.member.corrupt = self.corrupt
        members.join(self.member)
        return self.member

    async def revoke(self) -> None:
        """Take everything away, as the start of a rebalance does."""
        await self.member.give_up()

    async def assign(self) -> None:
        """Give everything back."""
        await self.member.take(self.log.partitions_of(self.member.topics))


class LingeringProducer(MemoryTransactionalProducer):
    """Closes when it is let go."""

    bus: "LingeringBus"

    async def close(self) -> None:
        self.bus.closing.set()
        await self.bus.let_go.wait()
        await super().close()


class LingeringBus(HeldBus):
    """The same, and its producers take their time to close."""

    def __init__(self, log: Log) -> None:
        super().__init__(log)
        self.producers = 0
        self.closing, self.let_go = asyncio.Event(), asyncio.Event()

    async def transactional_producer(self, transactional_id: str, timeout_ms: int) -> LingeringProducer:
        self.producers += 1
        producer = LingeringProducer(self.log, transactional_id, timeout_ms)
        producer.bus = self
        return producer
