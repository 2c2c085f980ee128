"""How the phases hand a round over: in numbered parts, split by the one and put together by the next.

A part holds at most 1,000 instances and stays below 900 kB. All parts of a hand-over come from one
transaction and stand in one partition, but a batch may end between two of them, so what has arrived waits in
a table.
"""

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any, Generic, TypeVar

from schemas.aggregation import RoundBarrier
from schemas.event import MAX_PART_ROWS, Columns, Event
from schemas.rounds import HandOver, Phase
from workers.fold import Context, Emit, Table

C = TypeVar("C", bound=Columns)
H = TypeVar("H", bound=HandOver)
P = TypeVar("P", bound=HandOver | RoundBarrier)


#: Fields that belong to the part, besides the columns.
_OF_THE_PART = frozenset({"covers", "acknowledged", "missing"})

#: Fields that only the last part carries, and what stands in the others.
_TOTALS = {"library": None, "releases": None, "global_scores": None, "criteria": (), "converged": None}


class Parts(Generic[P]):
    """The parts of one type of event, collected until they are whole, each event once.

    Rounds of a kind follow each other with growing numbers, so that the number of the last whole one tells a
    repetition.
    """

    def __init__(self, event: type[P]) -> None:
        self.waiting: Table[P] = Table("parts", event, encode=lambda part: part.encode())
        self.done: Table[int] = Table("parts-done", int)

    def tables(self) -> tuple[Table[Any], Table[Any]]:
        """Return the tables, for the state of the worker."""
        return self.waiting, self.done

    def seen(self, part: P) -> bool:
        """Tell whether this part has been taken before."""
        last = self.done.get(part.federation, part.kind)
        known = self.waiting.get(part.federation, _key(part, part.part)) is not None
        return known or (last is not None and part.number <= last)

    def take(self, part: P) -> tuple[P, ...] | None:
        """Take a part not seen before; return all parts in order, and forget them, when it completes them."""
        self.waiting.put(part.federation, _key(part, part.part), part)
        keys = [_key(part, number) for number in range(part.parts)]
        waiting = self.waiting.of(part.federation)
        if any(key not in waiting for key in keys):
            return None
        whole = tuple(waiting[key] for key in keys)
        for key in keys:
            self.waiting.delete(part.federation, key)
        self.done.put(part.federation, part.kind, part.number)
        return whole


def _key(part: HandOver | RoundBarrier, number: int) -> str:
    return f"{part.round_id}/{number:07d}"


def count_of_parts(*rows: int) -> int:
    """Return how many parts carry columns of so many rows; no row at all still takes one."""
    return max(1, *(-(-count // MAX_PART_ROWS) for count in rows))


def rows_of_part(part: int) -> slice:
    """Return which rows part number ``part`` carries."""
    return slice(part * MAX_PART_ROWS, (part + 1) * MAX_PART_ROWS)


def sliced(columns: C, rows: slice) -> C:
    """Return some rows of every column."""
    names = type(columns).model_fields
    return columns.model_copy(update={name: getattr(columns, name)[rows] for name in names})


def concatenated(columns: Sequence[C]) -> C:
    """Return the rows of all, one after the other."""
    names = type(columns[0]).model_fields
    return columns[0].model_copy(
        update={name: tuple(chain.from_iterable(getattr(each, name) for each in columns)) for name in names}
    )


def join(parts: Sequence[H]) -> H:
    """Return the hand-over as one event: all rows, all covers, and the totals of the last part."""
    last = parts[-1]
    if len(parts) == 1:
        return last
    whole: dict[str, Any] = {"part": 0, "parts": 1}
    for name in type(last).model_fields:
        values = [getattr(part, name) for part in parts]
        if isinstance(values[0], Columns):
            whole[name] = concatenated(values)
        elif name in _OF_THE_PART:
            whole[name] = tuple(chain.from_iterable(values))
    return last.model_copy(update=whole)


def split(whole: H) -> Iterator[H]:
    """Yield the parts of a hand-over; the last one has the totals."""
    names = set(type(whole).model_fields)
    columns = {name: value for name in names if isinstance(value := getattr(whole, name), Columns)}
    parts = count_of_parts(len(whole.covers), *(len(value) for value in columns.values()))
    for part in range(parts):
        rows = rows_of_part(part)
        fields: dict[str, Any] = {name: sliced(value, rows) for name, value in columns.items()}
        fields |= {"part": part, "parts": parts, "covers": whole.covers[rows]}
        here = set(fields["instances"].instance_id)
        for name in names & {"acknowledged", "missing"}:
            fields[name] = tuple(instance for instance in getattr(whole, name) if instance in here)
        if part < parts - 1:
            fields |= {name: empty for name, empty in _TOTALS.items() if name in names}
        yield whole.model_copy(update=fields)


def hand_over(context: Context, whole: HandOver, phase: Phase, time_ms: int) -> Iterator[Emit]:
    """Yield the emits that hand a round over to the next phase."""
    for part in split(whole):
        yield emit(context, part, part.round_id, f"{part.round_id}/{phase}/{part.part}", time_ms)


def emit(context: Context, event: Event, key: str | None, event_id: str, time_ms: int) -> Emit:
    """Return the emit of an event whose topic is partitioned by federation."""
    partition = context.federation_partition(event.topic, event.federation)
    return Emit(event.topic, partition, key, event, event_id, time_ms)
