"""What a worker is: a pure fold over the records of its partitions, with its state in tables.

``step`` and ``tick`` read and change only the state that they are handed and return what is to be published.
No clock, no randomness, no I/O: ids are derived from inputs, time is a record's append time or the tick's.
The runtime commits state, outputs and positions together; if that fails, it throws the state away.
"""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cache
from typing import Any, ClassVar, Generic, NamedTuple, TypeVar

import orjson
from pydantic import ConfigDict, TypeAdapter

from schemas.dead_letters import DeadLetter
from schemas.event import Event
from schemas.partitioning import key_partition
from workers.settings import Settings

V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class Record:
    """One record of an input, as the broker has it; ``append_ms`` is the broker's append time (Unix ms)."""

    #: In a state a record's bytes are base64: they need not be text.
    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(ser_json_bytes="base64", val_json_bytes="base64")

    topic: str
    partition: int
    offset: int
    append_ms: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...] = ()

    @property
    def undecodable(self) -> bool:
        """Whether it stands for bytes that nobody can decode: without a key, a value and a time."""
        return self.append_ms == 0 and self.key is None and self.value is None


@dataclass(frozen=True, slots=True)
class Emit:
    """An event to be published in the transaction of the step; ``event`` None is a tombstone for ``key``.

    ``id`` is the identity of the event, derived from what caused it. ``time_ms`` is that cause's time.
    """

    topic: str
    partition: int
    key: str | None
    event: Event | DeadLetter | None
    id: str
    time_ms: int


class Outcome(StrEnum):
    """What became of a record that was read; every record has exactly one."""

    ACCEPTED = "accepted"
    DEAD_LETTERED = "dead_lettered"
    DUPLICATE = "duplicate"
    STALE = "stale"


@dataclass(slots=True)
class Step:
    """What a step or a tick gives back."""

    #: To be published, in this order.
    emits: list[Emit] = field(default_factory=list)
    #: (topic, outcome) -> records that were settled: those of the step, but for what has to wait, which is
    #: counted in the step or tick that settles it.
    handled: Counter[tuple[str, Outcome]] = field(default_factory=Counter)
    #: (outcome, reason) -> rows of reports.
    rows: Counter[tuple[str, str]] = field(default_factory=Counter)


class Measure(StrEnum):
    """What a fold can tell of its state: a gauge for whoever watches it, never part of a result."""

    #: (federation, status) -> registered instances.
    INSTANCES = "instances"
    #: (federation,) -> scores of the last round, in [0, 1] …
    CONVERGENCE = "convergence"
    ALIGNMENT = "alignment"
    EMERGENCE = "emergence"
    #: … and patterns below the release threshold in the last synchronization.
    WITHHELD = "withheld"
    #: (federation, kind) -> when the round in flight was opened (Unix s, broker time); nothing if none is.
    OPENED = "opened"
    #: (federation,) -> synchronizations that were abandoned since one was completed.
    MISSED = "missed"


class Observation(NamedTuple):
    """The value of a measure now; the first label is the federation."""

    measure: Measure
    labels: tuple[str, ...]
    value: float


@cache
def _decoder(kind: Any) -> Callable[[bytes], Any]:
    # Made once: pydantic takes a millisecond for each, and every task that is taken over has a new state.
    return TypeAdapter(kind).validate_json


class Table(Generic[V]):
    """One kind of state: federation -> key -> value. Values are frozen; replace them, never change them.

    The keys that changed since the last flush are remembered, so that the changelog gets just those. A
    volatile table (``kind`` None) is not in the changelog: after a restore it is empty.
    """

    def __init__(
        self,
        name: str,
        kind: Any,
        *,
        encode: Callable[[V], bytes] = orjson.dumps,
        decode: Callable[[bytes], V] | None = None,
    ) -> None:
        self.name = name
        self.volatile = kind is None
        self._encode = encode
        self._decode = decode or (None if kind is None else _decoder(kind))
        self._values: dict[str, dict[str, V]] = {}
        self._changed: dict[str, set[str]] = {}

    def get(self, federation: str, key: str = "") -> V | None:
        """Return the value, or None."""
        return self._values.get(federation, {}).get(key)

    def of(self, federation: str) -> Mapping[str, V]:
        """Return all values of a federation by key; a view, not to be kept over changes."""
        return self._values.get(federation, {})

    def federations(self) -> Sequence[str]:
        """Return the federations that have a value."""
        return tuple(self._values)

    def put(self, federation: str, key: str, value: V) -> None:
        """Set a value."""
        self._values.setdefault(federation, {})[key] = value
        self._note(federation, (key,))

    def update(self, federation: str, values: Mapping[str, V]) -> None:
        """Set several values."""
        if values:
            self._values.setdefault(federation, {}).update(values)
            self._note(federation, values)

    def delete(self, federation: str, key: str = "") -> None:
        """Remove a value, if it is there."""
        self.remove(federation, (key,))

    def remove(self, federation: str, keys: Iterable[str]) -> None:
        """Remove several values, as far as they are there."""
        self._note(federation, self._dropped(federation, keys))

    def _dropped(self, federation: str, keys: Iterable[str]) -> list[str]:
        of = self._values.get(federation, {})
        dropped = [key for key in keys if of.pop(key, None) is not None]
        if dropped and not of:
            del self._values[federation]
        return dropped

    def _note(self, federation: str, keys: Collection[str]) -> None:
        if keys and not self.volatile:
            self._changed.setdefault(federation, set()).update(keys)

    def load(self, federation: str, key: str, value: bytes | None) -> None:
        """Take one record of the changelog; the value None removes."""
        if value is None:
            self._dropped(federation, (key,))
        else:
            self._values.setdefault(federation, {})[key] = self._decoded(value)

    def _decoded(self, value: bytes) -> V:
        if self._decode is None:
            raise ValueError(f"the table {self.name} has no changelog")
        try:
            return self._decode(value)
        except ValueError as error:
            # Not what was in it: this ends the task, in a log.
            raise ValueError(
                f"a row of the table {self.name} cannot be read: {type(error).__name__}"
            ) from None

    @property
    def changed(self) -> bool:
        """Whether something is not in the changelog yet."""
        return bool(self._changed)

    def changes(self) -> Iterator[tuple[str, str, bytes | None]]:
        """Yield (federation, key, encoded value or None) of everything that changed since the last flush."""
        for federation, keys in sorted(self._changed.items()):
            for key in sorted(keys):
                value = self.get(federation, key)
                yield federation, key, None if value is None else self._encode(value)

    def flushed(self) -> None:
        """Forget what changed: it is in the changelog now."""
        self._changed.clear()


class State:
    """The tables of one partition task, as one key space for the changelog: table, federation, key."""

    def __init__(self, *tables: Table[Any]) -> None:
        self.tables: dict[str, Table[Any]] = {table.name: table for table in tables}

    def load(self, key: bytes, value: bytes | None) -> None:
        """Take one record of the changelog."""
        name, federation, rest = key.decode().split("\0", 2)
        self.tables[name].load(federation, rest, value)

    @property
    def changed(self) -> bool:
        """Whether something is not in the changelog yet."""
        return any(table.changed for table in self.tables.values())

    def changes(self) -> Iterator[tuple[bytes, bytes | None]]:
        """Yield the records that bring the changelog up to date."""
        for table in self.tables.values():
            for federation, key, value in table.changes():
                yield f"{table.name}\0{federation}\0{key}".encode(), value

    def flushed(self) -> None:
        """Forget what changed: it is in the changelog now."""
        for table in self.tables.values():
            table.flushed()


@dataclass(frozen=True, slots=True)
class Context:
    """Where a fold stands: its partition, how many partitions every topic has, and the settings."""

    partition: int
    partitions: Mapping[str, int]
    settings: Settings

    def federation_partition(self, topic: str, federation: str) -> int:
        """Return the partition of ``topic`` (partitioned by federation) that holds the federation."""
        return key_partition(federation, self.partitions[topic])


S = TypeVar("S", bound=State)


class Worker(ABC, Generic[S]):
    """One worker's fold for one partition. All inputs are co-partitioned."""

    #: Name of the worker, of its consumer group and in its changelog.
    name: ClassVar[str]
    #: Topics that it reads.
    inputs: ClassVar[tuple[str, ...]]
    #: Topics that it writes, besides dead letters.
    outputs: ClassVar[tuple[str, ...]]
    #: Inputs that are read up to their end before a fetched batch of the others is judged.
    first: ClassVar[tuple[str, ...]] = ()
    #: True: the one input is its own changelog; the state is flushed when it pays and folded on restore.
    flushed_lazily: ClassVar[bool] = False

    def __init__(self, context: Context) -> None:
        self.context = context
        self.settings = context.settings

    @abstractmethod
    def state(self) -> S:
        """Return the empty state."""

    @abstractmethod
    def step(self, state: S, records: Sequence[Record]) -> Step:
        """Fold records (of any inputs, each input in order) into the state."""

    def again(self, state: S, records: Sequence[Record]) -> None:
        """Fold records whose outputs are published: after it the state is as ``step`` left it."""
        self.step(state, records)

    def deadline(self, state: S) -> int | None:  # noqa: ARG002
        """Return when the next tick is due (Unix ms, broker time), or None."""
        return None

    def tick(self, state: S, now_ms: int) -> Step:  # noqa: ARG002
        """Handle time; all records appended before the deadline have been read."""
        return Step()

    def observe(self, state: S) -> Iterable[Observation]:  # noqa: ARG002
        """Tell what the state says to those who watch; asked at any time, in the middle of a step too."""
        return ()
