"""The log that is replayed: the records of every partition in their order, and the events that they are."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Generic, Protocol, TypeVar

from pydantic import BaseModel

from convergence.replay.findings import Difference, DifferentError
from schemas import cloudevents
from schemas.catalogue import EVENTS
from schemas.dead_letters import DeadLetter
from schemas.event import MAX_RECORD_BYTES, Event

E = TypeVar("E", bound=Event | DeadLetter)
E_co = TypeVar("E_co", bound=BaseModel, covariant=True)


class Record(Protocol):
    """A record as a read_committed reader gets it; ``append_ms`` is the broker's append time (Unix ms)."""

    @property
    def topic(self) -> str:
        """Topic."""

    @property
    def partition(self) -> int:
        """Partition."""

    @property
    def offset(self) -> int:
        """Offset."""

    @property
    def append_ms(self) -> int:
        """Append time."""

    @property
    def key(self) -> bytes | None:
        """Key."""

    @property
    def value(self) -> bytes | None:
        """Value; None is a tombstone."""

    @property
    def headers(self) -> tuple[tuple[str, bytes], ...]:
        """Headers."""


@dataclass(frozen=True)
class Stands(Generic[E_co]):
    """An event and the record that it is."""

    event: E_co
    record: Record

    def __str__(self) -> str:
        record = self.record
        return f"{type(self.event).__name__} at {record.topic}/{record.partition}/{record.offset}"


@dataclass(frozen=True)
class Log:
    """Everything on the bus that a replay looks at."""

    #: (topic, partition) -> its records by growing offset.
    records: Mapping[tuple[str, int], tuple[Record, ...]]
    #: (topic, partition) -> the first offset that retention has left.
    starts: Mapping[tuple[str, int], int]
    #: What was appended later may not have been answered yet (Unix ms).
    settled_ms: int

    @cached_property
    def partitions(self) -> Mapping[str, int]:
        """Topic -> number of its partitions."""
        counts: dict[str, int] = {}
        for topic, partition in self.starts:
            counts[topic] = max(counts.get(topic, 0), partition + 1)
        return counts

    def of_federation(self, federation: str) -> "Log":
        """Return the log without the records of other federations."""
        own = {
            at: tuple(record for record in records if _is_of(record, federation))
            for at, records in self.records.items()
        }
        return replace(self, records=own)

    def of(self, topic: str) -> Iterator[Record]:
        """Yield the records of a topic, partition by partition."""
        for partition in range(self.partitions.get(topic, 0)):
            yield from self.records.get((topic, partition), ())

    def start(self, topic: str, partition: int) -> int:
        """Return the first offset of a partition that is still there."""
        return self.starts.get((topic, partition), 0)

    def is_cut(self, topic: str) -> bool:
        """Tell whether retention has removed something of a topic."""
        return any(start > 0 for (name, _), start in self.starts.items() if name == topic)

    def events(self, *types: type[E]) -> Iterator[Stands[E]]:
        """Yield the events of these types of one topic; raises DifferentError if one stands twice.

        Every one of them was written by a worker, in one transaction with what else it did. What is no event
        is passed over: the workers refuse it.
        """
        names = {model.__name__ for model in types}
        seen: set[tuple[str, str]] = set()
        for record in self.of(types[0].topic):
            event = event_of(record) if event_type(record) in names else None
            if event is None:
                continue
            stands = Stands(event, record)
            envelope = cloudevents.read(record.headers, record.value or b"")
            if (envelope.source, envelope.id) in seen:
                raise DifferentError(Difference(f"{stands}: it stands twice", envelope.id, None))
            seen.add((envelope.source, envelope.id))
            yield stands  # type: ignore[misc]  # its type is one of those asked for


def _is_of(record: Record, federation: str) -> bool:
    if record.key is None or record.topic == DeadLetter.topic:
        event = event_of(record)
        return event is not None and event.federation == federation
    key = record.key.decode("ascii", "replace").removeprefix("mark/")
    return key.split("/", 1)[0] == federation


def event_of(record: Record) -> Event | DeadLetter | None:
    """Return the event that a record of the topics between workers is, or None: it is none."""
    if record.value is None or len(record.value) > MAX_RECORD_BYTES:
        return None
    try:
        envelope = cloudevents.read(record.headers, record.value)
        model = EVENTS[envelope.type]
        return model.model_validate_json(envelope.data) if model.topic == record.topic else None
    except (ValueError, TypeError, KeyError):  # pydantic's own error is a ValueError
        return None


def event_type(record: Record) -> str | None:
    """Return the type that the headers of a record give."""
    kind = dict(record.headers).get("ce_type")  # None, too, for a header without a value
    return None if kind is None else kind.decode("ascii", "replace")


def gathered(records: Iterable[Record]) -> dict[tuple[str, int], tuple[Record, ...]]:
    """Return records by topic and partition, each in the order of its offsets."""
    found: dict[tuple[str, int], list[Record]] = {}
    for record in records:
        found.setdefault((record.topic, record.partition), []).append(record)
    return {at: tuple(sorted(some, key=lambda one: one.offset)) for at, some in found.items()}
