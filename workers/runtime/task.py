"""One partition task: it takes a partition over, serves it, and lets go of it. See ``lifecycle``.

A task is one failure domain. One coroutine drives it (``run``); its dispatcher hands it records and grants or
revokes its partition without waiting.
"""

import asyncio
from collections.abc import Iterable, Sequence

import structlog

from workers.fold import Observation, Record, State, Worker
from workers.runtime.crash import CrashPoint
from workers.runtime.inbox import Inbox
from workers.runtime.lifecycle import TaskState
from workers.runtime.port import TopicPartition, TransactionalProducer
from workers.runtime.restore import Restore, Restored
from workers.runtime.surroundings import Surroundings
from workers.runtime.tenure import Gate, Tenure

log = structlog.get_logger("flc.task")

#: States in which a batch can be under way.
_BUSY = frozenset({TaskState.RUNNING, TaskState.DRAINING})


class Task:
    """The task of one worker for one partition number."""

    def __init__(self, worker: Worker[State], around: Surroundings) -> None:
        self.worker = worker
        self.partition = worker.context.partition
        self.state = TaskState.CREATED
        self.inbox = Inbox(worker.inputs)
        #: What the worker folds into, once it is restored; the tenure changes it.
        self.folded: State | None = None
        #: Set while the partition is assigned and not being revoked.
        self.granted = asyncio.Event()
        #: Set while no transaction has returned since the last assignment: this process has every right to
        #: fence.
        self.fresh = asyncio.Event()
        self._around = around
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()

    # -- what the dispatcher tells the task

    def grant(self) -> None:
        """Let the task run: the partition is assigned."""
        self.fresh.set()
        self.granted.set()

    def revoke(self) -> None:
        """Close the gate: no further record is taken, the current batch ends."""
        self.granted.clear()
        self.inbox.clear()
        if self.state is TaskState.RUNNING:
            self._enter(TaskState.DRAINING)
        self._wake.set()

    def deliver(self, topic: str, records: Sequence[Record]) -> None:
        """Take fetched records; what comes outside RUNNING is dropped, for it will be fetched again."""
        if self.state is TaskState.RUNNING:
            self.inbox.put(topic, records)
            self._wake.set()

    def observe(self) -> Iterable[Observation]:
        """Tell what the worker's state says, while the task runs: a partition of others is theirs to tell."""
        if self.state is TaskState.RUNNING and self.folded is not None:
            return self.worker.observe(self.folded)
        return ()

    async def idle(self) -> None:
        """Wait until no batch is under way."""
        await self._idle.wait()

    # -- its life

    def _enter(self, state: TaskState) -> None:
        self.state = self.state.to(state)
        if state in _BUSY:
            self._idle.clear()
        else:
            self._idle.set()
        log.debug("task.entered", worker=self.worker.name, partition=self.partition, state=state.name.lower())

    def close(self) -> None:
        """Enter CLOSED for good; ``run`` has ended or never began."""
        if self.state is not TaskState.CLOSED:
            self._enter(TaskState.CLOSED)

    async def run(self) -> None:
        """Take the partition over and serve it, over any number of revocations, until cancelled.

        Raises whatever failed; the task is LOST then and its state thrown away.
        """
        producer: TransactionalProducer | None = None
        around = self._around
        self.fresh.clear()
        try:
            self._enter(TaskState.FENCING)
            producer = await around.bus.transactional_producer(
                around.transactional_id(self.worker.name, self.partition), around.transaction_timeout_ms
            )
            self._enter(TaskState.RESTORING)
            gate = Gate(self.inbox, self._wake, lambda: self.state is TaskState.RUNNING)
            restored = await self._restore()
            self.folded = restored.state
            tenure = Tenure(self.worker, around, gate, producer, restored)
            while True:
                if not self.granted.is_set() and self.state is not TaskState.PARKED:
                    self._enter(TaskState.PARKED)
                while not self.granted.is_set():
                    await self.granted.wait()
                # Nothing may wait from here to `open`: the partition is assigned, and must be still when it
                # opens.
                self.inbox.clear()
                self._enter(TaskState.RUNNING)
                around.feed.open(self.partition, tenure.position.next)
                await tenure.prove()
                self.fresh.clear()
                await tenure.serve()
                self.inbox.clear()
                self._enter(TaskState.PARKED)
        except BaseException:
            self._enter(TaskState.LOST)
            raise
        finally:
            self.inbox.clear()
            self.folded = None
            if producer is not None:
                await producer.close()

    async def _restore(self) -> Restored:
        around, started = self._around, self._around.clock.monotonic()
        restored = await Restore(
            around.bus,
            around.clock,
            self.worker,
            TopicPartition(around.changelog, self.partition),
            around.transaction_timeout_ms / 1000,
            self._restoring,
        ).run()
        around.metrics.restore_duration.labels(self.worker.name).observe(around.clock.monotonic() - started)
        for topic, wanted, start in restored.lost:
            log.error("input.lost", worker=self.worker.name, topic=topic, partition=self.partition,
                      offset=wanted, start=start)  # fmt: skip
        return restored

    def _restoring(self) -> None:
        self._around.crash.reached(self.worker.name, CrashPoint.MID_RESTORE)
        self._around.feed.progressed()
