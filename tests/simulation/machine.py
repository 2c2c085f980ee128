"""A machine that runs workers: its bus takes time, loses answers, and ends in the middle of anything.

Every call of the bus is an effect. Between any two of them a machine can be killed (nothing of it happens any
more, what it left open stays open), paused for longer than its session (a zombie), or lose the answer to a
commit, which may reach the broker later.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from workers.fold import Record
from workers.runtime.memory import Log, MemoryBus, MemoryReader
from workers.runtime.memory_group import Group, MemoryConsumer, group_of
from workers.runtime.memory_log import Fate, Transaction
from workers.runtime.port import (
    BusError,
    Fenced,
    Message,
    Rebalanced,
    Sent,
    TopicPartition,
    Unavailable,
)

#: A member of a group that is not heard of for so long is taken out of it.
SESSION_S = 1.0


@dataclass
class Odds:
    """How likely things are, for each effect; all 0 once the simulation heals."""

    killed: float = 0.0
    paused: float = 0.0
    #: The broker does not answer a commit: it has been done, is never done, or is done later.
    lost: float = 0.0


class Machine:
    """The fate of one process."""

    def __init__(self, log: Log, random: Random, odds: Odds, counts: Counter[str]) -> None:
        self.log = log
        self.random = random
        self.odds = odds
        #: What happened: kind of trouble -> how often.
        self.counts = counts
        self.dead = False
        self.bus = SimulatedBus(self)
        self._running = asyncio.Event()
        self._running.set()
        self._members: list[SimulatedConsumer] = []
        self._doing: set[asyncio.Task[None]] = set()

    @property
    def silent(self) -> bool:
        """Whether nobody hears of it: dead, or paused."""
        return self.dead or not self._running.is_set()

    async def effect(self) -> None:
        """Take the time of a call; die or stand still here, if that is its fate."""
        draw = self.random
        chance = draw.random()
        if chance < self.odds.killed:
            self.kill()
        elif chance < self.odds.killed + self.odds.paused:
            self.pause(draw.choice((0.2, 1.5, 3.0)))
        await asyncio.sleep(draw.choice((0.0, 0.0, 0.001, 0.005)))
        await self.alive()

    async def alive(self) -> None:
        """Wait while it is paused; for ever, if it is dead."""
        await self._running.wait()
        if self.dead:
            await asyncio.get_running_loop().create_future()

    def kill(self) -> None:
        """End it here: it does nothing more; its group hears of it when its session has ended."""
        if not self.dead:
            self.dead = True
            self.counts["killed"] += 1
            asyncio.get_running_loop().call_later(SESSION_S, self._expire)

    def pause(self, seconds: float) -> None:
        """Let it stand still; if that is longer than its session, it is a zombie when it goes on."""
        if not self.silent:
            self._running.clear()
            self.counts["zombie" if seconds > SESSION_S else "paused"] += 1
            loop = asyncio.get_running_loop()
            loop.call_later(seconds, self._resume)
            if seconds > SESSION_S:
                loop.call_later(SESSION_S, self._expire)

    def _resume(self) -> None:
        self._running.set()
        for consumer in self._members:
            if consumer.missed and not consumer.closed:
                self._do(consumer.join_again())

    def _expire(self) -> None:
        for consumer in self._members:
            if self.silent and not consumer.closed:
                consumer.missed = True
                self._do(consumer.expel())

    def _do(self, happening: Coroutine[Any, Any, None]) -> None:
        doing = asyncio.get_running_loop().create_task(happening)
        self._doing.add(doing)
        doing.add_done_callback(self._doing.discard)

    def joined(self, consumer: "SimulatedConsumer") -> None:
        """Take note of a member that runs here."""
        self._members.append(consumer)


class SimulatedConsumer(MemoryConsumer):
    """A member of a group on a machine."""

    def __init__(
        self,
        machine: Machine,
        group: Group,
        topics: Sequence[str],
        assigned: Rebalanced,
        revoked: Rebalanced,
    ) -> None:
        super().__init__(machine.log, group, topics, assigned, revoked)
        self._machine = machine
        self.closed = False
        #: It did not hear of a rebalance.
        self.missed = False

    async def poll(self, timeout_s: float, max_records: int = 5_000) -> dict[TopicPartition, list[Record]]:
        await self._machine.effect()
        found = await super().poll(timeout_s, self._machine.random.choice((1, 3, max_records)))
        if self._machine.silent:
            await self._machine.alive()
        return found

    async def give_up(self) -> None:
        if self._machine.silent:
            self.missed = True
        else:
            await super().give_up()

    async def take(self, partitions: Collection[TopicPartition]) -> None:
        if self._machine.silent:
            self.missed = True
        else:
            self.missed = False
            await super().take(partitions)

    async def expel(self) -> None:
        """Take it out of its group, which goes on without it."""
        await self._group.leave(self)

    async def join_again(self) -> None:
        """Learn late of what it missed: it lost everything, and joins again."""
        await super().give_up()
        if self._machine.dead:
            return  # it died on the way, and its session ends
        self.missed = False
        await self._group.leave(self)
        self._group.join(self)

    async def commit(self, offsets: Mapping[TopicPartition, int]) -> None:
        await self._machine.effect()
        await super().commit(offsets)

    async def close(self) -> None:
        self.closed = True
        if not self._machine.dead:
            await super().close()


class SimulatedProducer:
    """See ``port.TransactionalProducer``: every step of a transaction is an effect of its own."""

    def __init__(self, machine: Machine, transactional_id: str, timeout_ms: int) -> None:
        self._machine = machine
        self._id = transactional_id
        self._timeout_ms = timeout_ms
        self._number = machine.log.own(transactional_id)
        self._usable = True

    async def transact(
        self, messages: Sequence[Message], before_commit: Callable[[], None] | None = None
    ) -> list[Sent]:
        if not self._usable:
            raise BusError(f"the producer {self._id} failed before or is closed")
        self._usable = False
        machine = self._machine
        transaction = machine.log.begin(self._id, self._number, self._timeout_ms)
        sent = []
        for message in messages:
            if machine.random.random() < 0.2:
                await machine.effect()
            machine.log.check(self._id, self._number)
            sent.append(machine.log.append(message, transaction))
        await machine.effect()
        if before_commit is not None:
            before_commit()
        if machine.random.random() < machine.odds.lost:
            self._lose(transaction)
        self._end(transaction)
        await machine.effect()
        self._usable = True
        return sent

    def _end(self, transaction: Transaction) -> None:
        log = self._machine.log
        try:
            log.check(self._id, self._number)
        except Fenced:
            self._machine.counts["fenced"] += 1
            raise
        for at in transaction.partitions:
            log.partition(at)  # applies the time-out
        if transaction.fate is not Fate.OPEN:
            self._machine.counts["fenced"] += 1
            raise Fenced(f"{self._id}: the transaction timed out")
        log.end(transaction, Fate.COMMITTED)

    def _lose(self, transaction: Transaction) -> None:
        """Raise Unavailable: the commit has been done, is never done, or comes to the broker later."""
        fate = self._machine.random.choice(("done", "never", "later"))
        self._machine.counts[f"commit {fate}, answer lost"] += 1
        if fate == "done":
            self._end(transaction)
        elif fate == "later":
            delay_s = self._machine.random.choice((0.01, 0.3, 0.9))
            asyncio.get_running_loop().call_later(delay_s, self._end_late, transaction)
        raise Unavailable(f"the answer to a commit was lost: {fate}")

    def _end_late(self, transaction: Transaction) -> None:
        try:
            self._end(transaction)
        except Fenced:
            self._machine.counts["late commit refused"] += 1

    async def close(self) -> None:
        self._usable = False


class SimulatedReader(MemoryReader):
    """See ``port.Reader``."""

    def __init__(self, machine: Machine, positions: Mapping[TopicPartition, int]) -> None:
        super().__init__(machine.log, positions)
        self._machine = machine

    async def poll(self, timeout_s: float, max_records: int = 5_000) -> list[Record]:
        await self._machine.effect()
        return await super().poll(timeout_s, self._machine.random.choice((2, max_records)))


class SimulatedBus(MemoryBus):
    """The bus as one machine has it."""

    def __init__(self, machine: Machine) -> None:
        super().__init__(machine.log)
        self._machine = machine

    async def transactional_producer(  # type: ignore[override]
        self, transactional_id: str, timeout_ms: int
    ) -> SimulatedProducer:
        await self._machine.effect()
        return SimulatedProducer(self._machine, transactional_id, timeout_ms)

    async def reader(self, positions: Mapping[TopicPartition, int]) -> SimulatedReader:
        await self._machine.effect()
        return SimulatedReader(self._machine, positions)

    async def consumer(
        self, group: str, topics: Sequence[str], *, assigned: Rebalanced, revoked: Rebalanced
    ) -> SimulatedConsumer:
        await self._machine.effect()
        members = group_of(self.log, group)
        consumer = SimulatedConsumer(self._machine, members, topics, assigned, revoked)
        self._machine.joined(consumer)
        members.join(consumer)
        return consumer

    async def end_offsets(
        self, partitions: Collection[TopicPartition], *, committed: bool = True
    ) -> dict[TopicPartition, int]:
        await self._machine.effect()
        return await super().end_offsets(partitions, committed=committed)
