"""Time: the monotonic clock that waits are measured by, and the broker's time as a task knows it."""

import asyncio
import time
from collections.abc import Callable
from typing import Protocol


class Timer(Protocol):
    """A callback that is due later."""

    def cancel(self) -> None:
        """Forget the callback, if it has not run."""


class Clock(Protocol):
    """Monotonic seconds, and timers by them; tests hand in one that they can move."""

    def monotonic(self) -> float:
        """Return seconds since some moment; never goes back."""

    def call_later(self, seconds: float, callback: Callable[[], object]) -> Timer:
        """Call ``callback`` on the running loop in ``seconds``."""


class SystemClock:
    """The machine's monotonic clock."""

    def monotonic(self) -> float:
        """Return seconds since some moment; never goes back."""
        return time.monotonic()

    def call_later(self, seconds: float, callback: Callable[[], object]) -> Timer:
        """Call ``callback`` on the running loop in ``seconds``."""
        return asyncio.get_running_loop().call_later(seconds, callback)


def unix_ms() -> int:
    """Return the machine's Unix time in ms: what a log in memory stamps its records with."""
    return time.time_ns() // 1_000_000


async def wait(clock: Clock, event: asyncio.Event, seconds: float | None) -> None:
    """Wait until ``event`` is set or ``seconds`` have passed (None: for as long as it takes)."""
    if event.is_set() or seconds is None:
        await event.wait()
        return
    # A second event, so that the caller's tells a wake-up from time passing.
    due = asyncio.Event()
    timer = clock.call_later(max(0.0, seconds), due.set)
    waits = [asyncio.ensure_future(event.wait()), asyncio.ensure_future(due.wait())]
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        timer.cancel()
        for pending in waits:
            pending.cancel()


async def sleep(clock: Clock, seconds: float) -> None:
    """Wait until ``seconds`` have passed."""
    await wait(clock, asyncio.Event(), seconds)


class BrokerTime:
    """The broker's time as one task knows it.

    It is the largest append time that was read or got back from an own send, plus the monotonic time since.
    Each estimate lags the broker by the record's way to us, so the largest one is the best and none is ahead.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._append_ms: int | None = None
        self._at = 0.0

    def saw(self, append_ms: int) -> None:
        """Take the append time of a record."""
        if self._append_ms is None or append_ms > self.now_ms():
            self._append_ms, self._at = append_ms, self._clock.monotonic()

    def now_ms(self) -> int:
        """Return the time in Unix ms; 0 before anything was seen."""
        if self._append_ms is None:
            return 0
        return self._append_ms + int((self._clock.monotonic() - self._at) * 1000)
