"""From what a fold emits to what travels on the bus."""

from schemas import cloudevents
from workers.fold import Emit
from workers.runtime.port import Message


def encode(emit: Emit, source: str, more: cloudevents.Headers = ()) -> Message:
    """Return the CloudEvent of an emit from ``/flc/{worker}/{partition}``; a tombstone is a bare key.

    ``more`` are headers that are none of the event's attributes.
    """
    key = None if emit.key is None else emit.key.encode()
    if emit.event is None:
        return Message(emit.topic, emit.partition, key, None)
    headers = cloudevents.headers(emit.id, type(emit.event).__name__, source, emit.time_ms, emit.key)
    return Message(emit.topic, emit.partition, key, emit.event.encode(), (*headers, *more))
