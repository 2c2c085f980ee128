"""Events that travel in numbered parts, joined into whole ones."""

from collections.abc import Sequence
from typing import Any, Generic, TypeVar, cast

from schemas.aggregation import PartialAggregate, RoundBarrier
from schemas.convergence import RoundEvent
from schemas.event import Columns
from schemas.rounds import HandOver

C = TypeVar("C", bound=Columns)
R = TypeVar("R", bound=RoundEvent | HandOver | RoundBarrier | PartialAggregate)

#: Fields of which every part has its own share, if they are lists; of all others the last part has the whole
#: (``acknowledged`` lists instances in a hand-over and counts them in a result).
_SHARED = frozenset({"instance_scores", "covers", "acknowledged", "missing"})


def join(parts: Sequence[R]) -> R:
    """Return the event that the parts (in their order, all of them) make: one part of one."""
    last = parts[-1]
    fields: dict[str, Any] = {"part": 0, "parts": 1}
    for name in type(last).model_fields:
        if isinstance(getattr(last, name), Columns):
            fields[name] = _columns([getattr(part, name) for part in parts])
        elif name in _SHARED and isinstance(getattr(last, name), tuple):
            fields[name] = tuple(item for part in parts for item in getattr(part, name))
    return cast("R", last.model_copy(update=fields))


def _columns(parts: Sequence[C]) -> C:
    kind = type(parts[0])
    columns = {
        name: tuple(value for part in parts for value in getattr(part, name)) for name in kind.model_fields
    }
    return kind.model_validate(columns)


class Parts(Generic[R]):
    """The parts of events that are not whole yet, one event of each type: parts travel in one transaction.

    A part of another round means that the missing parts never come (reading began in their middle); what was
    there is dropped.
    """

    def __init__(self) -> None:
        self._pending: dict[tuple[str, Any], dict[int, tuple[int, R]]] = {}
        self._rounds: dict[tuple[str, Any], str] = {}

    def add(self, event: R, offset: int) -> R | None:
        """Take an event; return it whole, or None while parts are missing."""
        count = getattr(event, "parts", 1)
        if count == 1:
            return event
        kind = (type(event).__name__, getattr(event, "kind", None))
        if self._rounds.get(kind) != event.round_id:
            self._rounds[kind], self._pending[kind] = event.round_id, {}
        pending = self._pending[kind]
        pending.setdefault(getattr(event, "part", 0), (offset, event))
        if len(pending) < count:
            return None
        del self._rounds[kind], self._pending[kind]
        return join([pending[number][1] for number in range(count)])

    def first_offset(self) -> int | None:
        """Return the first offset among the parts that wait for others, or None."""
        return min((offset for parts in self._pending.values() for offset, _ in parts.values()), default=None)
