"""Consumer groups of a log in memory: eager rebalancing, Range assignment."""

import asyncio
from collections import deque
from collections.abc import Collection, Mapping, Sequence

from workers.fold import Record
from workers.runtime.memory_log import Log
from workers.runtime.port import BusError, Commit, GroupDescription, Rebalanced, TopicPartition

_NOWHERE = Commit(0, None)


class MemoryConsumer:
    """A member of a group; see ``port.Consumer``."""

    def __init__(
        self, log: Log, group: "Group", topics: Sequence[str], assigned: Rebalanced, revoked: Rebalanced
    ) -> None:
        self.topics = tuple(topics)
        self._log = log
        self._group = group
        self._assigned = assigned
        self._revoked = revoked
        self._positions: dict[TopicPartition, int] = {}
        self._paused: set[TopicPartition] = set()
        self._turn: deque[TopicPartition] = deque()

    async def poll(self, timeout_s: float, max_records: int = 5_000) -> dict[TopicPartition, list[Record]]:
        """Return fetched records of partitions that are not paused."""
        found = self._fetch(max_records)
        if not found:
            await self._log.changed(timeout_s)
            found = self._fetch(max_records)
        return found

    def _fetch(self, max_records: int) -> dict[TopicPartition, list[Record]]:
        found: dict[TopicPartition, list[Record]] = {}
        self._turn.rotate(-1)  # so that no partition starves behind a full one
        for at in self._turn:
            if at in self._paused or max_records <= 0:
                continue
            records, self._positions[at] = self._log.partition(at).read(self._positions[at], max_records)
            if records:
                found[at] = records
                max_records -= len(records)
        return found

    def assignment(self) -> Collection[TopicPartition]:
        """Return what the member owns now."""
        return frozenset(self._positions)

    def pause(self, *partitions: TopicPartition) -> None:
        """Stop fetching."""
        self._paused.update(self._owned(partitions))

    def resume(self, *partitions: TopicPartition) -> None:
        """Fetch again."""
        self._paused.difference_update(self._owned(partitions))
        self._log.notify()

    def seek(self, partition: TopicPartition, offset: int) -> None:
        """Read on from ``offset``."""
        self._owned([partition])
        self._positions[partition] = offset

    def position(self, partition: TopicPartition) -> int:
        """Return the next offset to be read."""
        self._owned([partition])
        return self._positions[partition]

    def _owned(self, partitions: Collection[TopicPartition]) -> Collection[TopicPartition]:
        if strange := set(partitions) - set(self._positions):
            raise BusError(f"not assigned: {sorted(strange)}")
        return partitions

    async def commit(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Commit offsets to the group."""
        now_ms = self._log.now_ms()
        self._group.committed.update({at: Commit(offset, now_ms) for at, offset in offsets.items()})

    async def close(self) -> None:
        """Leave the group; the own callbacks are not called (aiokafka does not either)."""
        self._positions = {}
        self._turn.clear()
        await self._group.leave(self)

    async def give_up(self) -> None:
        """Hand back everything, at the start of a rebalance."""
        await self._revoked(self.assignment())
        self._positions = {}
        self._turn.clear()

    async def take(self, partitions: Collection[TopicPartition]) -> None:
        """Own these from now on, paused, at the committed position or the beginning."""
        self._paused = set(partitions)
        self._positions = {
            at: max(self._group.committed.get(at, _NOWHERE).offset, self._log.partition(at).start)
            for at in partitions
        }
        self._turn = deque(sorted(partitions))
        await self._assigned(self.assignment())


class Group:
    """The members of a group. Every join and leave revokes all from all and assigns anew, one at a time."""

    def __init__(self, log: Log) -> None:
        self.committed: dict[TopicPartition, Commit] = {}
        self._log = log
        self._members: list[MemoryConsumer] = []
        self._lock = asyncio.Lock()
        self._rebalances: set[asyncio.Task[None]] = set()

    def description(self) -> GroupDescription:
        """Return what each member owns and what was committed last."""
        members = {
            f"member-{number}": frozenset(member.assignment()) for number, member in enumerate(self._members)
        }
        return GroupDescription(members, dict(self.committed))

    def join(self, member: MemoryConsumer) -> None:
        """Add a member; the rebalance runs beside the caller, as a coordinator's does."""
        self._members.append(member)
        self._later()

    async def leave(self, member: MemoryConsumer) -> None:
        """Remove a member."""
        if member in self._members:
            self._members.remove(member)
            if self._members:
                self._later()

    def _later(self) -> None:
        task = asyncio.get_running_loop().create_task(self._rebalance())
        self._rebalances.add(task)
        task.add_done_callback(self._rebalances.discard)

    async def _rebalance(self) -> None:
        async with self._lock:
            members = list(self._members)
            await asyncio.gather(*(member.give_up() for member in members))
            shares = self._shares([member for member in members if member in self._members])
            await asyncio.gather(*(member.take(share) for member, share in shares.items()))

    def _shares(self, members: Sequence[MemoryConsumer]) -> dict[MemoryConsumer, list[TopicPartition]]:
        shares: dict[MemoryConsumer, list[TopicPartition]] = {member: [] for member in members}
        for topic in sorted({topic for member in members for topic in member.topics}):
            readers = [member for member in members if topic in member.topics]
            each, more = divmod(self._log.topic(topic).partitions, len(readers))
            first = 0
            for index, reader in enumerate(readers):
                count = each + (index < more)
                shares[reader] += [TopicPartition(topic, first + number) for number in range(count)]
                first += count
        return shares


def group_of(log: Log, name: str) -> Group:
    """Return the group of that name on a log."""
    return log.groups.setdefault(name, Group(log))
