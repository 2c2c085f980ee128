"""Reading what is on the bus: from a record to its event."""

from functools import lru_cache
from typing import TypeVar, cast

from pydantic import ValidationError

from schemas import cloudevents
from schemas.catalogue import EVENTS
from schemas.event import Event
from workers.fold import Record

E = TypeVar("E", bound=Event)


def event_type(record: Record) -> str | None:
    """Return the type that the record's header gives, without reading the value."""
    kind = dict(record.headers).get("ce_type")  # None, too, for a header without a value
    return None if kind is None else kind.decode("ascii", "replace")


def read(record: Record, *types: type[E]) -> E | None:
    """Return the record's event if it is one of the types (or of their subclasses), else None.

    What is not an event of this contract (a tombstone, a type of a later version, damage) is None, too: a
    reader passes it over.
    """
    if record.value is None:
        return None
    try:
        envelope = cloudevents.read(record.headers, record.value)
        found = EVENTS.get(envelope.type)
        if found is None or not issubclass(found, types):
            return None
        return cast("E", _parse(found, envelope.data))
    except (ValueError, ValidationError):
        return None


@lru_cache(maxsize=16)
def _parse(model: type[Event], data: bytes) -> Event:
    # Every instance of a process reads the same results; a frozen event can be everybody's.
    return model.model_validate_json(data)
