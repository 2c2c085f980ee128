"""The stream of a page: what changes, as server-sent events, resumable by the log's own offsets.

``round`` is a round that ended; its id is its offset on the convergence topic, so a browser that comes back
with Last-Event-ID gets every later round once, also from another process. ``sections`` is the present state
of the parts of the snapshot that changed; the first one of a connection has all of them. ``beat`` comes every
two seconds and says whether the observer is connected to the bus. ``reset``: begin anew.

(Six lines of framing: sse-starlette would watch signals that the process handles itself.)
"""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import fields

from convergence.observation.observation import Snapshot, encoded
from convergence.observer import Observer
from workers.runtime.clock import unix_ms

#: Seconds after which a stream says something in any case.
BEAT_S = 2.0

#: Seconds between two looks at what changed, at least: what comes in between is told together.
PACE_S = 0.05

#: The parts of a snapshot.
SECTIONS = tuple(field.name for field in fields(Snapshot))


class Sections:
    """The snapshot in its parts, encoded once for all streams."""

    def __init__(self, observer: Observer) -> None:
        self._observer = observer
        self._version = -1
        self._encoded: dict[str, bytes] = {}

    def encoded(self) -> dict[str, bytes]:
        """Return the JSON of every part, as of now."""
        if self._version != self._observer.version:
            self._version = self._observer.version
            snapshot = self._observer.snapshot()
            self._encoded = {name: encoded(getattr(snapshot, name)) for name in SECTIONS}
        return self._encoded


def joined(sections: dict[str, bytes]) -> bytes:
    """Return encoded parts as one JSON object."""
    return b"{%s}" % b",".join(b'"%s":%s' % (name.encode(), body) for name, body in sections.items())


def framed(event: str, data: bytes, event_id: int | None = None) -> bytes:
    """Return one event of a stream; JSON has no line breaks."""
    head = b"" if event_id is None else b"id: %d\n" % event_id
    return b"%sevent: %s\ndata: %s\n\n" % (head, event.encode(), data)


async def events(observer: Observer, sections: Sections, after: int) -> AsyncIterator[bytes]:
    """Yield what happens after the round with the offset ``after``, until the observer ends."""
    sent: dict[str, bytes] = {}
    while not observer.ended:
        version = observer.version
        if observer.current.is_set():
            rounds = observer.observation.rounds
            ended = None if after > rounds.last_offset else rounds.after(after)
            if ended is None:
                # Away for longer than rounds are remembered, or it is another log: the page begins anew.
                yield framed("reset", b"{}")
                return
            for view in ended:
                yield framed("round", encoded(view), view.offset)
                after = view.offset
            now = sections.encoded()
            if changed := {name: body for name, body in now.items() if sent.get(name) != body}:
                yield framed("sections", joined(changed))
                sent = now
        yield framed("beat", encoded({"now_ms": unix_ms(), "connected": observer.connected}))
        await asyncio.sleep(PACE_S)
        await observer.changed(version, BEAT_S)
