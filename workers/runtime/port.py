"""The port to the bus: all that the runtime and the client need of Kafka. Adapters: ``kafka``, ``memory``.

Errors: ``Fenced`` (somebody else owns the transactional id: drop everything), ``Unavailable`` (the bus is
away or too slow: the outcome of what was under way is unknown; drop everything, and try again later),
``Refused`` (the bus does not let us: somebody has to change a password, a certificate or the access list).
"""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from workers.fold import Record


class BusError(Exception):
    """Something on the bus failed."""


class Fenced(BusError):  # noqa: N818  (Kafka's word)
    """Raised when another producer has taken over the transactional id."""


class Unavailable(BusError):  # noqa: N818
    """Raised when the bus does not answer in time, or not at all."""


class Refused(BusError):  # noqa: N818
    """Raised when the bus does not know us, or does not let us do what we asked for."""


class OffsetLost(BusError):  # noqa: N818
    """Raised when a position to read from is no longer on the bus."""


class TopicPartition(NamedTuple):
    """A partition of a topic."""

    topic: str
    partition: int


class Corrupt(BusError):  # noqa: N818
    """Raised when a batch cannot be decoded: seek to ``next_offset``, or read the same for ever.

    The records from ``offset`` up to ``next_offset`` are in it; all before them have been handed out.
    """

    def __init__(
        self, partition: TopicPartition, offset: int, why: str, next_offset: int | None = None
    ) -> None:
        super().__init__(f"{partition.topic}/{partition.partition} at {offset}: {why}")
        self.partition = partition
        self.offset = offset
        self.next_offset = offset + 1 if next_offset is None else next_offset


@dataclass(frozen=True, slots=True)
class Message:
    """A record to be sent, to a partition that the sender has chosen."""

    topic: str
    partition: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...] = ()


@dataclass(frozen=True, slots=True)
class Sent:
    """Where a message landed."""

    topic: str
    partition: int
    offset: int
    append_ms: int


class Producer(Protocol):
    """Sends messages, each acknowledged by all replicas, in order and once (idempotent)."""

    async def send(self, messages: Sequence[Message]) -> list[Sent]:
        """Send all and wait for every acknowledgement; raises if one failed."""

    async def close(self) -> None:
        """Release the connection; never hangs."""


class TransactionalProducer(Protocol):
    """Owns one transactional id. Starting it fences the predecessor and aborts its open transaction."""

    async def transact(
        self, messages: Sequence[Message], before_commit: Callable[[], None] | None = None
    ) -> list[Sent]:
        """Send all in one transaction and commit: all are visible to read_committed readers, or none is.

        ``before_commit`` is called when every message is acknowledged and nothing is committed yet.
        After any error the outcome is unknown and the producer is dead: close it, make a new one.
        """

    async def close(self) -> None:
        """Release the connection; never hangs."""


class Reader(Protocol):
    """Reads partitions that it is told, without a group."""

    async def poll(self, timeout_s: float, max_records: int = 5_000) -> list[Record]:
        """Return what is there, waiting up to ``timeout_s`` for a first record; raises OffsetLost."""

    def seek(self, partition: TopicPartition, offset: int) -> None:
        """Read on from ``offset``."""

    def position(self, partition: TopicPartition) -> int:
        """Return the next offset to be read: behind everything that is invisible, too."""

    async def close(self) -> None:
        """Release the connection; never hangs."""


class Consumer(Protocol):
    """A member of a consumer group. Partitions of all topics with the same number go to the same member.

    The callbacks record what happened and return at once. A partition that was just assigned is paused until
    ``seek`` and ``resume``; positions never come from committed offsets.
    """

    async def poll(self, timeout_s: float, max_records: int = 5_000) -> dict[TopicPartition, list[Record]]:
        """Return fetched records of partitions that are not paused."""

    def pause(self, *partitions: TopicPartition) -> None:
        """Stop fetching; what is buffered is dropped."""

    def resume(self, *partitions: TopicPartition) -> None:
        """Fetch again."""

    def seek(self, partition: TopicPartition, offset: int) -> None:
        """Read on from ``offset``."""

    def position(self, partition: TopicPartition) -> int:
        """Return the next offset to be read: behind everything that is invisible, too.

        It moves on together with ``poll`` returning: between the two no other coroutine runs.
        """

    async def commit(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Commit offsets to the group, for the display of lag only."""

    async def close(self) -> None:
        """Leave the group; never hangs."""


Rebalanced = Callable[[Collection[TopicPartition]], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class TopicDescription:
    """A topic as it is on the bus."""

    name: str
    partitions: int
    replication: int
    configs: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Commit:
    """An offset that a group has committed; ``at_ms`` is the committing process's time (None: not said)."""

    offset: int
    at_ms: int | None


@dataclass(frozen=True, slots=True)
class GroupDescription:
    """A consumer group as the bus has it: what each member owns, and what was committed last."""

    members: Mapping[str, frozenset[TopicPartition]]
    commits: Mapping[TopicPartition, Commit]


class Bus(Protocol):
    """A connection to the bus."""

    async def producer(self) -> Producer:
        """Return a started idempotent producer."""

    async def transactional_producer(self, transactional_id: str, timeout_ms: int) -> TransactionalProducer:
        """Return a started producer that owns the id; an open transaction lives ``timeout_ms``."""

    async def reader(self, positions: Mapping[TopicPartition, int]) -> Reader:
        """Return a started read_committed reader at the given offsets (-1: the end, -2: the beginning)."""

    async def consumer(
        self, group: str, topics: Sequence[str], *, assigned: Rebalanced, revoked: Rebalanced
    ) -> Consumer:
        """Return a started read_committed member of ``group``."""

    async def end_offsets(
        self, partitions: Collection[TopicPartition], *, committed: bool = True
    ) -> dict[TopicPartition, int]:
        """Return the end of each partition; ``committed``: before the first open transaction."""

    async def beginning_offsets(self, partitions: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        """Return the first offset of each partition."""

    async def offsets_at(
        self, partitions: Collection[TopicPartition], time_ms: int
    ) -> dict[TopicPartition, int]:
        """Return the first offset of each partition whose append time is ``time_ms`` or later, or its end."""

    async def group(self, name: str) -> GroupDescription:
        """Return a consumer group; one that is not known has neither members nor commits."""

    async def describe(self, topics: Collection[str]) -> dict[str, TopicDescription]:
        """Return the topics that exist, with their effective configs."""

    async def create(self, topics: Collection[TopicDescription]) -> None:
        """Create topics; one that exists is left as it is. Raises BusError with the broker's words."""

    async def configure(self, topic: str, configs: Mapping[str, str]) -> None:
        """Set configs of a topic; what else is set on it stays. Raises BusError with the broker's words."""

    async def close(self) -> None:
        """Release all connections; never hangs."""
