"""One dispatcher for each worker of a process: a member of the worker's group, and its partition tasks.

The poll loop fills the tasks' inboxes and does nothing else that could hold it up. The rebalance callbacks
close and open gates; taking over, restoring and ticks happen in the tasks' own coroutines.
"""

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from itertools import chain

import structlog

from workers.fold import Observation, Record, State, Worker
from workers.runtime.backoff import Backoff
from workers.runtime.clock import Clock, unix_ms, wait
from workers.runtime.crash import CrashPoint
from workers.runtime.failures import Fatal
from workers.runtime.inbox import holes
from workers.runtime.lifecycle import TaskState
from workers.runtime.port import Bus, BusError, Consumer, Corrupt, TopicPartition
from workers.runtime.surroundings import Surroundings
from workers.runtime.task import Task

log = structlog.get_logger("flc.group")

#: Seconds that one poll waits for a first record.
POLL_S = 0.5

#: How long a revocation waits for the batches under way (measured: 99 % within 34 ms). The group waits with
#: us.
REVOKE_BUDGET_S = 3.0

#: Seconds between two commits of group offsets, which serve the display of lag only.
OFFSETS_EVERY_S = 5.0

#: Seconds from an assignment to the first of them, and to the next until all partitions are in it: who has
#: just taken over shall not be shown as stopped.
FIRST_OFFSETS_S = 1.0


class Dispatcher:
    """The member of one worker's group; owns the worker's tasks in this process."""

    def __init__(
        self,
        kind: type[Worker[State]],
        make: Callable[[int], Worker[State]],
        surroundings: Callable[["Dispatcher"], Surroundings],
        heartbeat_interval_s: float,
    ) -> None:
        self.name = kind.name
        self.tasks: dict[int, Task] = {}
        #: Tasks that ended for good: partition -> why.
        self.fatal: dict[int, str] = {}
        #: Whether the group has settled; between a revocation and the next assignment it has not.
        self.stable = False
        self.progress_at = 0.0
        self._kind = kind
        self._make = make
        self._around = surroundings(self)
        self._clock: Clock = self._around.clock
        self._rebuild_s = 2 * heartbeat_interval_s
        self._consumer: Consumer | None = None
        #: None between a revocation and the next assignment.
        self._assigned: frozenset[TopicPartition] | None = None
        self._runs: dict[int, asyncio.Task[None]] = {}
        self._closing: set[asyncio.Task[None]] = set()
        self._full: set[TopicPartition] = set()
        self._offsets_due = 0.0
        self.progressed()

    @property
    def ready(self) -> bool:
        """Whether the assignment is stable and every task of it runs."""
        return self.stable and all(task.state is TaskState.RUNNING for task in self.tasks.values())

    def observe(self) -> Iterable[Observation]:
        """Tell what the states of the tasks say that run here."""
        return chain.from_iterable(task.observe() for task in self.tasks.values())

    # -- the member

    async def run(self) -> None:
        """Be a member of the group until cancelled; while the bus is away, wait for it."""
        backoff = Backoff(self._clock)
        while True:
            started = self._clock.monotonic()
            try:
                await self._membership()
            except BusError as error:
                backoff.failed_after(self._clock.monotonic() - started)
                log.warning("group.unavailable", worker=self.name, error=repr(error), retry_s=backoff.delay_s)
                await backoff.sleep(self.progressed)

    async def _membership(self) -> None:
        bus: Bus = self._around.bus
        try:
            self._consumer = await bus.consumer(
                self.name, self._kind.inputs, assigned=self._on_assigned, revoked=self._on_revoked
            )
            self._reconcile()
            while True:
                for at, records in (await self._poll(self._consumer)).items():
                    if at.partition in self.tasks:
                        self.tasks[at.partition].deliver(at.topic, records)
                        self._hold_back(at)
                self.progressed()
                self._around.metrics.last_poll.labels(self.name).set(unix_ms() / 1000)
                await self._show_lag()
        finally:
            self.stable = False
            # First: a rebalance may end while we leave, and what it assigns to us begins no task any more. It
            # would fence who gets the partition next.
            consumer, self._consumer = self._consumer, None
            for task in self.tasks.values():
                task.revoke()
            await self._settle()
            await self._close(list(self.tasks))
            self._around.metrics.lags(self.name, ())
            if consumer is not None:
                await consumer.close()
            self._assigned = None

    async def _poll(self, consumer: Consumer) -> Mapping[TopicPartition, Sequence[Record]]:
        try:
            return await consumer.poll(POLL_S)
        except Corrupt as error:
            # The same bytes would be fetched for ever. The fold gets records with no value.
            at = error.partition
            log.warning(
                "record.corrupt", error=str(error), worker=self.name, offset=error.offset, **at._asdict()
            )
            if at not in (self._assigned or ()):
                return {}
            records = holes(error)
            consumer.seek(at, records[-1].offset + 1)
            return {at: records}

    async def _show_lag(self) -> None:
        now = self._clock.monotonic()
        if self._consumer is None or self._assigned is None or now < self._offsets_due:
            return
        self._offsets_due = now + FIRST_OFFSETS_S
        try:
            ends = await self._around.bus.end_offsets(self._running())
            # Asked again: a rebalance may have come between.
            handled = {at: self._handled(at) for at in self._running() if at in ends}
            self._around.metrics.lags(self.name, ((at, max(0, ends[at] - n)) for at, n in handled.items()))
            if handled:
                await self._consumer.commit(handled)
            if handled.keys() == self._assigned:
                self._offsets_due = now + OFFSETS_EVERY_S
        except BusError as error:  # for display only, and the next time is soon
            log.info("lag.not_shown", worker=self.name, error=repr(error))

    def _running(self) -> list[TopicPartition]:
        running = {number for number, task in self.tasks.items() if task.state is TaskState.RUNNING}
        return [at for at in self._assigned or () if at.partition in running]

    def _handled(self, at: TopicPartition) -> int:
        waiting = self.tasks[at.partition].inbox.first_offset(at.topic)
        return self.position(at) if waiting is None else waiting

    # -- rebalances: the callbacks

    async def _on_revoked(self, _partitions: Collection[TopicPartition]) -> None:
        """Close the gates and wait for the batches under way, within the budget."""
        self.stable = False
        self._assigned = None
        self._full.clear()
        for task in self.tasks.values():
            task.revoke()
        self._around.metrics.lags(self.name, ())
        self._around.crash.reached(self.name, CrashPoint.IN_REVOKE)
        await self._settle()

    async def _settle(self) -> None:
        try:
            async with asyncio.timeout(REVOKE_BUDGET_S):
                await asyncio.gather(*(task.idle() for task in self.tasks.values()))
        except TimeoutError:
            busy = sorted(p for p, task in self.tasks.items() if task.state is TaskState.DRAINING)
            log.warning("group.batch_over_budget", worker=self.name, partitions=busy)

    async def _on_assigned(self, partitions: Collection[TopicPartition]) -> None:
        """Record the assignment and open gates; the tasks do the rest."""
        self._assigned = frozenset(partitions)
        # Not shown at once: before the first fetch, a restored position lies before the markers at the end,
        # and would look as if the group had gone back.
        self._offsets_due = self._clock.monotonic() + FIRST_OFFSETS_S
        self._around.metrics.rebalances.labels(self.name).inc()
        log.info("group.assigned", worker=self.name, partitions=sorted({at.partition for at in partitions}))
        self._reconcile()

    def _reconcile(self) -> None:
        """Have a task for each partition number that is assigned, and none for any other."""
        if self._consumer is None or self._assigned is None:
            return  # called again when there is both
        numbers = {at.partition for at in self._assigned}
        for number in set(self.tasks) - numbers:
            self._drop(number)
        for number in sorted(numbers):
            if number not in self.tasks:
                self._begin(number)
            self.tasks[number].grant()
        self.stable = True

    # -- tasks

    def _begin(self, number: int) -> None:
        task = Task(self._make(number), self._around)
        self.tasks[number] = task
        self._runs[number] = asyncio.get_running_loop().create_task(
            self._live(task), name=f"{self.name}.{number}"
        )

    async def _live(self, task: Task) -> None:
        """Run a task; when it fails, rebuild it while its siblings go on."""
        backoff = Backoff(self._clock)
        where = {"worker": self.name, "partition": task.partition}
        try:
            while True:
                started = self._clock.monotonic()
                try:
                    await task.run()
                except Fatal as error:
                    self._around.metrics.task_failures.labels(self.name, type(error).__name__).inc()
                    self.fatal[task.partition] = str(error)
                    log.critical("task.ended", error=str(error), **where)
                    return
                except Exception as error:
                    self._around.metrics.task_failures.labels(self.name, type(error).__name__).inc()
                    backoff.failed_after(self._clock.monotonic() - started)
                    # A zombie that took over again would fence the rightful owner. Whoever is assigned anew,
                    # or hears of no revocation for two heartbeats, is the owner.
                    delay = max(self._rebuild_s, backoff.delay_s)
                    log.warning("task.failed", retry_s=round(delay, 3), exc_info=error, **where)
                    await wait(self._clock, task.fresh, delay)
                    await task.granted.wait()
        finally:
            task.close()

    def _drop(self, number: int) -> None:
        """End a task whose partition belongs to somebody else now; nothing waits for it."""
        self._runs[number].cancel()
        self.tasks.pop(number).revoke()
        ending = self._runs.pop(number)
        self._closing.add(ending)
        ending.add_done_callback(self._closing.discard)
        self.fatal.pop(number, None)

    async def _close(self, numbers: Collection[int]) -> None:
        for number in numbers:
            self._drop(number)
        await asyncio.gather(*self._closing, return_exceptions=True)

    # -- the feed of the tasks

    def open(self, partition: int, offsets: Mapping[str, int]) -> None:
        """Fetch the partition number's topics from these offsets on."""
        if self._consumer is None:
            return
        for topic, offset in offsets.items():
            self._consumer.seek(TopicPartition(topic, partition), offset)
        opened = [TopicPartition(topic, partition) for topic in offsets]
        self._full.difference_update(opened)
        self._consumer.resume(*opened)

    def position(self, at: TopicPartition) -> int:
        """Return up to where a partition has been fetched; 0 (nowhere) if it is not assigned."""
        if self._consumer is None or at not in (self._assigned or ()):
            return 0
        return self._consumer.position(at)

    def _hold_back(self, at: TopicPartition) -> None:
        if (
            self._consumer is not None
            and at in (self._assigned or ())
            and self.tasks[at.partition].inbox.full(at.topic)
        ):
            self._full.add(at)
            self._consumer.pause(at)

    def taken(self, partition: int) -> None:
        """Fetch on, where the inbox has room again."""
        inbox = self.tasks[partition].inbox
        room = {at for at in self._full if at.partition == partition and not inbox.full(at.topic)}
        if self._consumer is not None and room:
            self._full -= room
            self._consumer.resume(*room)

    def progressed(self) -> None:
        """Take note that something moves."""
        self.progress_at = self._clock.monotonic()
