"""The convergence topic of a federation as an async iterator of whole results."""

import asyncio
import logging
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable
from types import TracebackType
from typing import Literal, Self

from convergence.events import read
from convergence.parts import Parts
from convergence.topics import POLL_S, partition_of, poll
from schemas.convergence import RoundEvent
from workers.fold import Record
from workers.runtime.port import Bus, OffsetLost, Reader, Unavailable

_log = logging.getLogger(__name__)

#: How long to wait before a bus that was away is tried again, in seconds.
RETRY_S = 1.0


class Subscription:
    """All public events of a federation, in order; a result that travels in parts comes whole.

    ``position`` is where a later subscription goes on (``start``): everything returned so far lies before it.
    An event may come twice after that, never not at all. Errors of the bus are raised; the position holds.
    """

    def __init__(self, bus: Bus, federation: str, start: Literal["end", "beginning"] | int = "end") -> None:
        self._bus = bus
        self._federation = federation
        self._start = start
        self._reader: Reader | None = None
        self._parts: Parts[RoundEvent] = Parts()
        self._ready: deque[tuple[RoundEvent, int]] = deque()
        self._position: int | None = start if isinstance(start, int) else None

    @property
    def position(self) -> int | None:
        """The offset from which a later subscription goes on; None until it is known from the bus."""
        return self._position

    async def open(self) -> None:
        """Start reading: what is published from now on is seen. Without it, the first use does so."""
        if self._reader is not None:
            return
        partition = await partition_of(self._bus, RoundEvent.topic, self._federation)
        if self._position is None:
            ends = self._bus.end_offsets if self._start == "end" else self._bus.beginning_offsets
            self._position = (await ends((partition,)))[partition]
        self._reader = await self._bus.reader({partition: self._position})

    async def next(self, timeout_s: float) -> RoundEvent | None:
        """Return the next event, or None if one poll of at most ``timeout_s`` brought none."""
        await self.open()
        assert self._reader is not None  # noqa: S101  (open has set it)
        if not self._ready:
            for record in await poll(self._reader, timeout_s):
                self._take(record)
        if not self._ready:
            return None
        event, self._position = self._ready.popleft()
        return event

    def _take(self, record: Record) -> None:
        event = read(record, RoundEvent)
        if event is None or event.federation != self._federation:
            return
        whole = self._parts.add(event, record.offset)
        if whole is not None:
            first = self._parts.first_offset()
            self._ready.append((whole, record.offset + 1 if first is None else first))

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> RoundEvent:
        while True:
            event = await self.next(POLL_S)
            if event is not None:
                return event

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def restart(self) -> None:
        """Read on from the first event that is still there; the bus is asked for it at the next use."""
        await self.close()
        self._start, self._position = "beginning", None

    async def close(self) -> None:
        """Stop reading; a later use goes on from the position."""
        self._ready.clear()
        self._parts = Parts()
        if self._reader is not None:
            reader, self._reader = self._reader, None
            await reader.close()


def subscribe(bus: Bus, federation: str, start: Literal["end", "beginning"] | int = "end") -> Subscription:
    """Return the federation's public events from the end, from the beginning, or from a position on.

    ``async with`` it to be sure that it reads before you act, or just iterate over it with ``async for``.
    """
    return Subscription(bus, federation, start)


async def follow(
    events: Subscription, wait: Callable[[float], Awaitable[None]] = asyncio.sleep
) -> AsyncGenerator[RoundEvent, None]:
    """Yield events for ever; while the bus is away, ``wait`` for it, some seconds at a time.

    What retention removed before it could be read is passed over. The subscription is closed at the end.
    """
    try:
        while True:
            try:
                event = await events.next(POLL_S)
            except OffsetLost:
                await events.restart()
            except Unavailable as error:
                _log.warning("bus.unavailable %s", error)
                await events.close()
                await wait(RETRY_S)
            else:
                if event is not None:
                    yield event
    finally:
        await events.close()
