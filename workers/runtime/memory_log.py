"""A log in memory that behaves as Kafka's where the runtime can tell the difference.

Commit and abort markers take offsets, readers see nothing behind the first open transaction (the last stable
offset), a new owner of a transactional id aborts what its predecessor left open, compaction leaves holes.
"""

import asyncio
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field, replace
from enum import Enum, auto
from typing import TYPE_CHECKING

from workers.fold import Record
from workers.runtime.clock import unix_ms
from workers.runtime.port import BusError, Fenced, Message, OffsetLost, Sent, TopicDescription, TopicPartition

if TYPE_CHECKING:
    from workers.runtime.memory_group import Group


#: What holds for a topic that says nothing else, as Kafka has it.
DEFAULT_CONFIGS = {
    "cleanup.policy": "delete",
    "max.message.bytes": "1048588",
    "message.timestamp.type": "CreateTime",
    "retention.ms": "604800000",
}


class Fate(Enum):
    """What became of a transaction."""

    OPEN = auto()
    COMMITTED = auto()
    ABORTED = auto()


@dataclass(eq=False, slots=True)
class Transaction:
    """Records in several partitions that become visible together."""

    expires_ms: int
    fate: Fate = Fate.OPEN
    partitions: set[TopicPartition] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class Entry:
    """A place in a partition: a record, or the marker of a transaction's end (``record`` None)."""

    record: Record | None
    transaction: Transaction | None

    @property
    def visible(self) -> Record | None:
        """The record, if a read_committed reader gets it."""
        if self.transaction is not None and self.transaction.fate is not Fate.COMMITTED:
            return None
        return self.record


@dataclass(slots=True)
class Partition:
    """The entries by offset; None where compaction or retention removed one."""

    entries: list[Entry | None] = field(default_factory=list)
    start: int = 0
    #: Open transaction -> offset of its first record here.
    open: dict[Transaction, int] = field(default_factory=dict)

    @property
    def end(self) -> int:
        """The offset of the next entry."""
        return len(self.entries)

    @property
    def stable(self) -> int:
        """The last stable offset: all before it is decided."""
        return min(self.open.values(), default=self.end)

    def first_since(self, append_ms: int) -> int:
        """Return the offset of the first record that was appended at ``append_ms`` or later; else the end."""
        for offset in range(self.start, self.end):
            entry = self.entries[offset]
            if entry is not None and entry.record is not None and entry.record.append_ms >= append_ms:
                return offset
        return self.end

    def read(self, offset: int, limit: int) -> tuple[list[Record], int]:
        """Return up to ``limit`` visible records from ``offset`` on, and where to read on."""
        if not self.start <= offset <= self.end:
            raise OffsetLost(f"offset {offset} is not in [{self.start}, {self.end}]")
        records: list[Record] = []
        stable = self.stable
        while offset < stable and len(records) < limit:
            entry = self.entries[offset]
            offset += 1
            if entry is not None and entry.visible is not None:
                records.append(entry.visible)
        return records, offset


class Log:
    """Topics, transactional ids and groups; shared by any number of buses on one loop."""

    def __init__(self, now_ms: Callable[[], int] = unix_ms) -> None:
        self.now_ms = now_ms
        self.topics: dict[str, TopicDescription] = {}
        self.groups: dict[str, Group] = {}
        self._partitions: dict[TopicPartition, Partition] = {}
        self._owners: dict[str, tuple[int, Transaction | None]] = {}
        self._changed = asyncio.Event()

    # -- topics

    def create(self, topic: TopicDescription) -> None:
        """Create a topic; one that exists is left as it is."""
        if topic.name in self.topics:
            return
        if topic.partitions < 1:
            raise BusError(f"{topic.name}: the number of partitions must be larger than 0")
        self.topics[topic.name] = replace(topic, configs={**DEFAULT_CONFIGS, **topic.configs})
        for number in range(topic.partitions):
            self._partitions[TopicPartition(topic.name, number)] = Partition()

    def configure(self, name: str, configs: dict[str, str]) -> None:
        """Set configs of a topic; the others stay."""
        topic = self.topic(name)
        self.topics[name] = replace(topic, configs={**topic.configs, **configs})

    def topic(self, name: str) -> TopicDescription:
        """Return a topic; raises BusError if there is none of that name."""
        if name not in self.topics:
            raise BusError(f"the topic {name} does not exist")
        return self.topics[name]

    def partition(self, at: TopicPartition) -> Partition:
        """Return a partition with all time-outs up to now applied; raises BusError if it does not exist."""
        if at not in self._partitions:
            raise BusError(f"the partition {at.topic}/{at.partition} does not exist")
        partition = self._partitions[at]
        now = self.now_ms()
        for transaction in [t for t in partition.open if t.expires_ms <= now]:
            self.end(transaction, Fate.ABORTED)
        return partition

    # -- writing

    def append(self, message: Message, transaction: Transaction | None = None) -> Sent:
        """Append one record; raises BusError if the topic does not take it."""
        at = TopicPartition(message.topic, message.partition)
        partition = self.partition(at)
        limit = int(self.topic(message.topic).configs["max.message.bytes"])
        if len(message.key or b"") + len(message.value or b"") > limit:
            raise BusError(f"the record is larger than the {limit} bytes that {message.topic} takes")
        sent = Sent(message.topic, message.partition, partition.end, self.now_ms())
        record = Record(
            sent.topic,
            sent.partition,
            sent.offset,
            sent.append_ms,
            message.key,
            message.value,
            message.headers,
        )
        if transaction is not None:
            if transaction.fate is not Fate.OPEN:
                raise Fenced("the transaction timed out, or its id has a new owner")
            transaction.partitions.add(at)
            partition.open.setdefault(transaction, sent.offset)
        partition.entries.append(Entry(record, transaction))
        self.notify()
        return sent

    def end(self, transaction: Transaction, fate: Fate) -> None:
        """Decide a transaction and write its markers."""
        if transaction.fate is not Fate.OPEN:
            return
        transaction.fate = fate
        for at in transaction.partitions:
            partition = self._partitions[at]
            partition.open.pop(transaction, None)
            partition.entries.append(Entry(None, transaction))
        self.notify()

    def own(self, transactional_id: str) -> int:
        """Take over a transactional id: end what its owner left open, fence it; return the new number."""
        number, transaction = self._owners.get(transactional_id, (0, None))
        if transaction is not None:
            self.end(transaction, Fate.ABORTED)
        self._owners[transactional_id] = (number + 1, None)
        return number + 1

    def begin(self, transactional_id: str, number: int, timeout_ms: int) -> Transaction:
        """Open a transaction; raises Fenced if somebody else owns the id."""
        self.check(transactional_id, number)
        transaction = Transaction(self.now_ms() + timeout_ms)
        self._owners[transactional_id] = (number, transaction)
        return transaction

    def check(self, transactional_id: str, number: int) -> None:
        """Raise Fenced if somebody else owns the id."""
        if self._owners.get(transactional_id, (0, None))[0] != number:
            raise Fenced(transactional_id)

    # -- what a broker does to a log by and by

    def clean(self) -> None:
        """Compact every topic, or remove what is older than its retention, as its cleanup policy says."""
        for name, topic in self.topics.items():
            if "compact" in topic.configs["cleanup.policy"]:
                self.compact(name)
            elif (retention_ms := int(topic.configs["retention.ms"])) >= 0:
                since_ms = self.now_ms() - retention_ms
                for at, partition in self._of(name):
                    self.truncate(at, partition.first_since(since_ms))

    def compact(self, topic: str) -> None:
        """Keep of every key the last record, tombstones too."""
        for at, partition in self._of(topic):
            last = {record.key: record.offset for record in self.records(at)}
            keep = set(last.values())
            for offset in range(partition.stable):
                if offset not in keep:
                    partition.entries[offset] = None

    def truncate(self, at: TopicPartition, start: int) -> None:
        """Remove everything before ``start``, as retention does."""
        partition = self.partition(at)
        partition.start = min(max(start, partition.start), partition.end)
        partition.entries[: partition.start] = [None] * partition.start

    # -- reading

    def records(self, at: TopicPartition) -> list[Record]:
        """Return all records of a partition that a read_committed reader gets."""
        partition = self.partition(at)
        return partition.read(partition.start, partition.end)[0]

    def _of(self, topic: str) -> Iterator[tuple[TopicPartition, Partition]]:
        for number in range(self.topic(topic).partitions):
            at = TopicPartition(topic, number)
            yield at, self.partition(at)

    def partitions_of(self, topics: Collection[str]) -> list[TopicPartition]:
        """Return all partitions of some topics."""
        return [at for topic in sorted(topics) for at, _ in self._of(topic)]

    def notify(self) -> None:
        """Wake whoever waits for a change."""
        self._changed.set()
        self._changed = asyncio.Event()

    async def changed(self, timeout_s: float) -> None:
        """Wait for a change, for up to ``timeout_s``."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._changed.wait()
        except TimeoutError:
            return
