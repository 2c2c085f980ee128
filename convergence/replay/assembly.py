"""The rounds of a log: what their phases handed over, their barriers and partials, what was published."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Generic, NoReturn, TypeVar

from convergence.parts import join
from convergence.replay.findings import Comparison, Difference, DifferentError, UnderWayError
from convergence.replay.log import Log, Record, Stands, event_of
from schemas.aggregation import PartialAggregate, RoundBarrier
from schemas.convergence import (
    ConvergenceUpdated,
    KnowledgeAnnounced,
    PatternEmerged,
    RoundAbandoned,
    RoundEvent,
    SynchronizationAnnounced,
    SynchronizationCompleted,
)
from schemas.rounds import (
    AggregationCompleted,
    CollectionCompleted,
    DetectionCompleted,
    DistributionCompleted,
    HandOver,
    RoundKind,
    ValidationCompleted,
)

OfRound = HandOver | RoundBarrier | PartialAggregate | RoundEvent
P = TypeVar("P", bound=OfRound)
P_co = TypeVar("P_co", bound=OfRound, covariant=True)

_HAND_OVERS = (
    CollectionCompleted,
    ValidationCompleted,
    AggregationCompleted,
    DetectionCompleted,
    DistributionCompleted,
)
_PUBLISHED = (
    ConvergenceUpdated,
    SynchronizationAnnounced,
    KnowledgeAnnounced,
    SynchronizationCompleted,
    RoundAbandoned,
    PatternEmerged,
)

#: The last thing that is written of a round.
_ENDS = (ConvergenceUpdated, SynchronizationCompleted, RoundAbandoned)


@dataclass(frozen=True)
class Whole(Generic[P_co]):
    """An event whose parts are joined."""

    event: P_co
    #: When its last part was appended (Unix ms, broker time).
    append_ms: int
    #: Of its first and of its last part.
    first_offset: int
    offset: int
    name: str


@dataclass
class Round:
    """Everything of one round; its events are read when they are asked for, for all together are too many."""

    round_id: str
    federation: str
    kind: RoundKind
    number: int
    #: Its result, or a later round of the kind, has been there for long enough: nothing more will come.
    ended: bool = False
    #: (type, partition for barriers and partials) -> the records of its parts.
    records: dict[tuple[str, int], list[Record]] = field(default_factory=dict)

    @property
    def began_ms(self) -> int:
        """When the first event of the round was appended (Unix ms)."""
        return min(record.append_ms for some in self.records.values() for record in some)

    def find(self, kind: type[P], bucket: int = -1) -> Whole[P] | None:
        """Return the event of a type, or None; raises DifferentError or UnderWayError for a part of it."""
        stands = sorted(self.each(kind, bucket), key=lambda one: _part(one.event))
        if not stands:
            return None
        for each in stands:
            number = getattr(each.event, "number", self.number)  # a partial has its round's id alone
            if number != self.number or each.event.federation != self.federation:
                raise DifferentError(Difference(f"{each}.number", number, self.number))
        events = [one.event for one in stands]
        numbers, count = [_part(event) for event in events], getattr(events[0], "parts", 1)
        if numbers != list(range(count)):
            self.missing(f"{stands[0]}: the parts", count, recorded=numbers)
        offsets = [one.record.offset for one in stands]
        last = max(stands, key=lambda one: one.record.offset)
        event = join(events) if count > 1 else events[0]
        return Whole(event, last.record.append_ms, min(offsets), max(offsets), str(stands[0]))

    def each(self, kind: type[P], bucket: int = -1) -> list[Stands[P]]:
        """Return the events of a type, part by part as they stand in the log."""
        records = self.records.get((kind.__name__, bucket), ())
        return [Stands(event_of(record), record) for record in records]  # type: ignore[arg-type]  # as filed

    def missing(self, where: str, expected: object, recorded: object = None) -> NoReturn:
        """Raise DifferentError, or UnderWayError if a worker may still write what is missing."""
        if self.ended or recorded is not None:
            raise DifferentError(Difference(where, recorded, expected))
        raise UnderWayError(f"{where} is not there yet")


def _part(event: OfRound) -> int:
    part: int = getattr(event, "part", 0)
    return part


@dataclass
class Rounds:
    """All rounds, by id."""

    by_id: dict[str, Round] = field(default_factory=dict)

    def of(self, federation: str, kind: RoundKind) -> list[Round]:
        """Return the rounds of a kind in their order."""
        chosen = [one for one in self.by_id.values() if (one.federation, one.kind) == (federation, kind)]
        return sorted(chosen, key=lambda one: one.number)

    def in_order(self, federation: str) -> list[Round]:
        """Return the rounds of both kinds, in the order in which they began."""
        rounds = [one for kind in RoundKind for one in self.of(federation, kind)]
        return sorted(rounds, key=lambda one: (one.began_ms, one.number))

    def federations(self) -> list[str]:
        """Return the federations that have rounds."""
        return sorted({one.federation for one in self.by_id.values()})


def assemble(log: Log) -> Rounds:
    """Return the rounds that the log knows of; raises DifferentError for events that stand twice."""
    rounds = Rounds()
    for stands in _events(log):
        event = stands.event
        round_id = event.round_id
        federation, kind, number = round_id.split("/")
        one = rounds.by_id.setdefault(round_id, Round(round_id, federation, RoundKind(kind), int(number)))
        bucket = -1
        if isinstance(event, RoundBarrier):
            bucket = stands.record.partition
        elif isinstance(event, PartialAggregate):
            bucket = event.bucket
        one.records.setdefault((type(event).__name__, bucket), []).append(stands.record)
    for federation in rounds.federations():
        for kind in RoundKind:
            of_kind = rounds.of(federation, kind)
            for one in of_kind:
                one.ended = one is not of_kind[-1] or any(
                    record.append_ms <= log.settled_ms
                    for end in _ENDS
                    for record in one.records.get((end.__name__, -1), ())
                )
    return rounds


def _events(log: Log) -> Iterator[Stands[OfRound]]:
    groups: Iterable[Iterable[Stands[OfRound]]] = (
        log.events(*_HAND_OVERS),
        log.events(RoundBarrier),
        log.events(PartialAggregate),
        log.events(*_PUBLISHED),
    )
    for group in groups:
        yield from group


def same(one: Round, expected: P, comparison: Comparison, *given: str) -> Whole[P]:
    """Hold what stands of a round against what is expected, but for what is given; go on with the expected.

    Raises DifferentError, or UnderWayError if it may still come.
    """
    found = one.find(type(expected))
    if found is None:
        one.missing(f"{one.round_id}: {type(expected).__name__}", "written")
    comparison.events(found.name, found.event, expected, *given)
    return replace(found, event=expected)


def same_if_kept(
    one: Round, expected: P, comparison: Comparison, cut: bool, bucket: int = -1
) -> Whole[P] | None:
    """Do the same where retention may have removed what stood there; return None then."""
    found = one.find(type(expected), bucket)
    if found is None:
        if not cut:
            one.missing(f"{one.round_id}: {type(expected).__name__} in bucket {bucket}", "written")
        return None
    comparison.events(found.name, found.event, expected)
    return replace(found, event=expected)
