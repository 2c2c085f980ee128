"""An event loop in which time is virtual: it passes only when nothing else is left to do."""

import asyncio
import heapq
from collections.abc import Callable
from concurrent.futures import Executor
from contextvars import Context
from typing import Any

from workers.runtime.clock import Timer

#: Unix time at which every simulation starts, ms.
START_MS = 1_800_000_000_000


class Stuck(Exception):  # noqa: N818
    """Raised when nothing will ever happen again."""


class VirtualLoop(asyncio.SelectorEventLoop):
    """Runs what is ready in its order; when nothing is, time jumps to the next timer. Nothing is random."""

    def __init__(self) -> None:
        super().__init__()
        self._now = 0.0
        #: Latest moment to which time may pass; beyond it, the simulation does not end.
        self.horizon_s = float("inf")

    def time(self) -> float:
        return self._now

    def _run_once(self) -> None:
        loop: Any = self
        while loop._scheduled and loop._scheduled[0].cancelled():
            heapq.heappop(loop._scheduled)._scheduled = False
            loop._timer_cancelled_count -= 1
        if not loop._ready:
            if not loop._scheduled or loop._scheduled[0].when() > self.horizon_s:
                raise Stuck(f"at {self._now:.3f} s")
            self._now = max(self._now, loop._scheduled[0].when())
        super()._run_once()  # type: ignore[misc]  # not in the stubs

    def call_at(  # type: ignore[override]
        self, when: float, callback: Callable[..., object], *arguments: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """Let some time pass before every timer, or rounding errors hold it up for ever."""
        return super().call_at(max(when, self._now + 1e-6), callback, *arguments, context=context)

    def run_in_executor(  # type: ignore[override]
        self, executor: Executor | None, function: Callable[..., Any], *arguments: Any
    ) -> asyncio.Future[Any]:
        """Run the function here and now: a thread would bring back chance."""
        assert executor is None
        future = self.create_future()
        try:
            future.set_result(function(*arguments))
        except Exception as error:  # noqa: BLE001  (it is handed on)
            future.set_exception(error)
        return future


class VirtualClock:
    """The clock of the simulated processes and of the log."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop

    def monotonic(self) -> float:
        return self._loop.time()

    def now_ms(self) -> int:
        return START_MS + int(self._loop.time() * 1000)

    def call_later(self, seconds: float, callback: Callable[[], object]) -> Timer:
        return self._loop.call_later(seconds, callback)
