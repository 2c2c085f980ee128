"""Orchestrators: other systems in this process that are told what the federation has come to.

One that has a mapping ``convergence_state`` gets the scores written into it, one that has a function
``on_convergence(event)``, sync or async, gets the public event itself. They are passed in, or found by the
entry point group ``convergence.orchestrators``. None of them can delay or harm a result.
"""

import asyncio
import inspect
import logging
import threading
from collections.abc import Callable, Iterable, MutableMapping
from contextlib import suppress
from importlib.metadata import EntryPoint, entry_points
from types import TracebackType
from typing import Any, Literal, Self

from convergence import callbacks
from convergence.types import at
from schemas.convergence import ConvergenceUpdated, RoundEvent, SynchronizationCompleted

_log = logging.getLogger(__name__)

#: The entry points that are looked at.
GROUP = "convergence.orchestrators"

#: Orchestrators that one expects to find; those that are not there are counted.
EXPECTED = ("UnifiedOrchestrator", "CompleteConvergenceOrchestrator", "EEAaOLFGLFGLFGLIntegratedOrchestrator")

#: An orchestrator is slow if it takes longer for an event, in seconds.
LIMIT_S = 1.0

#: So many events wait for an orchestrator; what comes while they do passes it by, and it counts as slow.
MAX_WAITING = 100


def state_of(event: RoundEvent) -> dict[str, Any]:
    """Return what an event writes into a ``convergence_state``: nothing, unless it has news for one.

    News are the scores of the federation, after an update and after a synchronization that has converged.
    """
    match event:
        case ConvergenceUpdated():
            return {
                "federated_convergence": event.global_convergence,
                "federated_emergence": event.global_emergence,
                "last_federated_update": at(event.timestamp).isoformat(),
            }
        case SynchronizationCompleted() if event.convergence_achieved:
            return {
                "global_convergence": event.global_convergence,
                "global_pattern_alignment": event.pattern_alignment,
                "global_emergence": event.global_emergence,
            }
        case _:
            return {}


class Orchestrators:
    """Feeds any number of orchestrators, each at its own pace and none for longer than it may take."""

    def __init__(self, given: Iterable[Any] = (), *, limit_s: float = LIMIT_S) -> None:
        self._limit_s = limit_s
        self._feeds = [_Feed(one, limit_s) for one in given]
        self._not_loaded = 0

    @classmethod
    def found(cls, given: Iterable[Any] = (), *, limit_s: float = LIMIT_S) -> Self:
        """Return those that are given and those of the entry points; one that cannot be loaded is counted."""
        orchestrators = cls(given, limit_s=limit_s)
        for point in entry_points(group=GROUP):
            orchestrators.load(point)
        return orchestrators

    def load(self, point: EntryPoint) -> None:
        """Add the orchestrator of an entry point, of a class its instance; if it fails, it is counted."""
        try:
            found = point.load()
            self._feeds.append(
                _Feed(found() if isinstance(found, type) else found, self._limit_s, point.name)
            )
        except Exception:  # noqa: BLE001  (it is the orchestrator's own)
            self._not_loaded += 1
            _log.warning("orchestrator.not_loaded %s", point.name, exc_info=True)

    def feed(self, event: RoundEvent) -> None:
        """Tell all of them, if the event has news for them; returns at once. Needs a running loop."""
        if state_of(event):
            for feed in self._feeds:
                feed.take(event)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Tell what there is still to tell, as far as it goes in the time of one event; then no more."""
        await asyncio.gather(*(feed.close() for feed in self._feeds))

    async def drain(self) -> None:
        """Wait until everybody has been told, or was too slow."""
        await asyncio.gather(*(feed.drain() for feed in self._feeds))

    def stats(self) -> dict[str, int]:
        """Return how many are connected or absent, and how often one was fed, too slow, or failed."""
        present = {feed.name for feed in self._feeds}
        return {
            "connected": len(self._feeds),
            "absent": sum(name not in present for name in EXPECTED),
            "fed": sum(feed.fed for feed in self._feeds),
            "slow": sum(feed.slow for feed in self._feeds),
            "failed": sum(feed.failed for feed in self._feeds) + self._not_loaded,
        }


class _Feed:
    """The way to one orchestrator."""

    def __init__(self, orchestrator: Any, limit_s: float, name: str = "") -> None:
        self.name = name or type(orchestrator).__name__
        self.fed = 0
        self.slow = 0
        self.failed = 0
        self._orchestrator = orchestrator
        self._limit_s = limit_s
        self._waiting: asyncio.Queue[RoundEvent] = asyncio.Queue(MAX_WAITING)
        self._task: asyncio.Task[None] | None = None
        self._one_at_a_time = threading.Lock()
        self._complained = False

    def take(self, event: RoundEvent) -> None:
        """Queue an event; a plain dict cannot be slow, so it is written at once."""
        try:
            state = getattr(self._orchestrator, "convergence_state", None)
            if type(state) is dict:
                state.update(state_of(event))
        except Exception as error:  # noqa: BLE001  (somebody else's property may do anything)
            self._complain("failed", error)
            return
        if self._task is None or self._task.done():
            self._waiting = asyncio.Queue(MAX_WAITING)  # that of this loop
            self._task = asyncio.get_running_loop().create_task(self._run())
        try:
            self._waiting.put_nowait(event)
        except asyncio.QueueFull:
            self._complain("slow")

    async def _run(self) -> None:
        while True:
            event = await self._waiting.get()
            try:
                await self._tell(event)
                self.fed += 1
            except TimeoutError:
                self._complain("slow")
            except Exception as error:  # noqa: BLE001  (it is the orchestrator's own, and it is counted)
                self._complain("failed", error)
            finally:
                self._waiting.task_done()

    async def _tell(self, event: RoundEvent) -> None:
        state = getattr(self._orchestrator, "convergence_state", None)
        if isinstance(state, MutableMapping) and type(state) is not dict:
            await self._call(state.update, state_of(event))
        handler = getattr(self._orchestrator, "on_convergence", None)
        if callable(handler):
            await self._call(handler, event)

    async def _call(self, work: Callable[[Any], Any], argument: Any) -> None:
        if inspect.iscoroutinefunction(work):
            await callbacks.call(work, argument, limit_s=self._limit_s)
        else:
            await callbacks.call(self._alone, work, argument, limit_s=self._limit_s)

    def _alone(self, work: Callable[[Any], Any], argument: Any) -> Any:
        """Call it in its thread, unless an earlier call still hangs there."""
        if not self._one_at_a_time.acquire(blocking=False):
            raise TimeoutError
        try:
            return work(argument)
        finally:
            self._one_at_a_time.release()

    def _complain(self, what: Literal["slow", "failed"], error: Exception | None = None) -> None:
        setattr(self, what, getattr(self, what) + 1)
        if not self._complained:
            self._complained = True
            _log.warning("orchestrator.%s %s", what, self.name, exc_info=error)

    async def drain(self) -> None:
        if self._task is not None and not self._task.done():
            await self._waiting.join()

    async def close(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(self._limit_s):
                await self.drain()
        if self._task is not None:
            task, self._task = self._task, None
            task.cancel()
            await asyncio.wait({task})
