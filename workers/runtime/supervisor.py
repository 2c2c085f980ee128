"""A process: any set of workers on one bus, from the check of the topics to the drain.

It owns the dispatchers, which own the tasks. A task that fails is rebuilt by its dispatcher; a dispatcher
ends only if the code is wrong, and then the process ends with its error.
"""

import asyncio
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

import structlog

from schemas.dead_letters import DeadLetter
from schemas.topics import Topic, Topics, load
from workers.fold import Context, State, Worker
from workers.letter_cap import capped
from workers.runtime import topology
from workers.runtime.backoff import Backoff
from workers.runtime.clock import Clock, SystemClock
from workers.runtime.crash import Crash
from workers.runtime.failures import Misconfigured
from workers.runtime.group import Dispatcher
from workers.runtime.metrics import Metrics
from workers.runtime.port import Bus, BusError, TopicDescription
from workers.runtime.surroundings import Surroundings
from workers.runtime.tracing import OFF, Tracing
from workers.settings import Settings

log = structlog.get_logger("flc.process")

#: Seconds that a drain may take: batches under way (3 s), producers and consumers closed. An orchestrator
#: kills later.
DRAIN_S = 15.0

#: A loop that made no progress for so long is stuck. Waiting for a broker that is away is progress; a poll is
#: 0.5 s, but a rebalance may hold one for a minute.
STUCK_S = 120.0

AnyWorker = type[Worker[Any]]


class Process:
    """Runs workers on a bus. ``async with`` starts and drains them; ``run`` waits until it is told to end.

    Raises Misconfigured at the start if the topics are not as the workers need them; a ``forgetful`` bus, one
    in memory, need not keep what an audit reads. The bus is the caller's to close.
    """

    def __init__(
        self,
        bus: Bus,
        workers: Sequence[AnyWorker],
        settings: Settings,
        *,
        topics: Topics | None = None,
        clock: Clock | None = None,
        crash: Crash | None = None,
        tracing: Tracing = OFF,
        forgetful: bool = False,
    ) -> None:
        keep_s = 0.0 if forgetful else settings.report_max_age_s + settings.audit_window_s
        self._keep_ms = int(keep_s * 1000)
        self.metrics = Metrics()
        self._bus = bus
        self._workers = tuple(workers)
        self._settings = settings
        self._topics = topics or load()
        self._clock = clock or SystemClock()
        self._crash = crash or Crash.from_environment()
        self._tracing = tracing
        self._dispatchers: list[Dispatcher] = []
        self._runs: list[asyncio.Task[None]] = []
        self._connected = False
        self._progress_at = self._clock.monotonic()

    # -- from start to end

    async def __aenter__(self) -> Self:
        live = await self._connect()
        if problems := topology.check(self._declared(), live, self._keep_ms):
            raise Misconfigured("; ".join(problems))
        partitions = {name: topic.partitions for name, topic in live.items()}
        self._connected = True
        for kind in self._workers:
            dispatcher = self._dispatcher(kind, partitions)
            self._dispatchers.append(dispatcher)
            self.metrics.start(kind)
            self.metrics.federations.watch(dispatcher.observe)
            self._runs.append(asyncio.create_task(dispatcher.run(), name=kind.name))
        log.info("process.started", workers=[kind.name for kind in self._workers])
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for run in self._runs:
            run.cancel()
        if self._runs:
            _, late = await asyncio.wait(self._runs, timeout=DRAIN_S)
            if late:
                log.error("process.drain_over_budget", workers=sorted(run.get_name() for run in late))
        log.info("process.stopped")

    async def run(self, until: asyncio.Event) -> None:
        """Wait for ``until``; raises what ended a dispatcher before."""
        ending = asyncio.create_task(until.wait())
        try:
            done, _ = await asyncio.wait([ending, *self._runs], return_when=asyncio.FIRST_COMPLETED)
            for run in done - {ending}:
                run.result()
        finally:
            ending.cancel()

    async def _connect(self) -> dict[str, TopicDescription]:
        """Return the topics that the workers touch, as they are; waits for a bus that is away."""
        backoff = Backoff(self._clock)
        names = {topic.name for topic in self._declared()}
        while True:
            try:
                return await self._bus.describe(names)
            except BusError as error:
                backoff.failed_after(0.0)
                log.warning("bus.unavailable", error=str(error), retry_s=round(backoff.delay_s, 3))
                await backoff.sleep(self._progressed)

    def _progressed(self) -> None:
        self._progress_at = self._clock.monotonic()

    def _declared(self) -> list[Topic]:
        found = {
            topic.name: topic
            for kind in self._workers
            for topic in self._topics.of_worker(kind.name, kind.inputs, kind.outputs)
        }
        # Every worker may write dead letters; they are no output of its own.
        if (letters := self._topics.declared.get(DeadLetter.topic)) is not None:
            found[letters.name] = letters
        return list(found.values())

    def _dispatcher(self, kind: AnyWorker, partitions: dict[str, int]) -> Dispatcher:
        settings, capped_kind = self._settings, capped(kind)

        def make(number: int) -> Worker[State]:
            made: Worker[State] = capped_kind(Context(number, partitions, settings))
            return made

        def around(dispatcher: Dispatcher) -> Surroundings:
            return Surroundings(
                bus=self._bus,
                clock=self._clock,
                metrics=self.metrics,
                crash=self._crash,
                feed=dispatcher,
                tracing=self._tracing,
                changelog=self._topics.changelog(kind.name, kind.inputs).name,
                transactional_id_prefix=settings.transactional_id_prefix,
                # One paused writer holds everybody's last stable offset for as long as its transaction lives.
                transaction_timeout_ms=settings.session_timeout_ms,
            )

        return Dispatcher(kind, make, around, settings.heartbeat_ms / 1_000)

    # -- how it is

    @property
    def live(self) -> bool:
        """Whether every loop made progress lately. A broker that is away is no reason to be restarted."""
        marks = [dispatcher.progress_at for dispatcher in self._dispatchers] or [self._progress_at]
        return self._clock.monotonic() - min(marks) < STUCK_S

    @property
    def ready(self) -> bool:
        """Whether the bus is connected, every assignment stable and every state restored."""
        return self._connected and all(dispatcher.ready for dispatcher in self._dispatchers)

    def info(self) -> dict[str, Any]:
        """Return the state of every task by worker and partition, and why tasks ended."""
        return {
            "connected": self._connected,
            "workers": {
                one.name: {
                    "stable": one.stable,
                    "tasks": {str(p): task.state.name.lower() for p, task in sorted(one.tasks.items())},
                    "ended": {str(p): why for p, why in sorted(one.fatal.items())},
                }
                for one in self._dispatchers
            },
        }
