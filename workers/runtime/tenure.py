"""From one take-over to the next failure: the state of a partition, changed and committed step by step.

The tenure is the source of truth for its state only as long as every transaction returns. The fold changes
the state in place; after any failure the whole tenure is thrown away and the state restored from the
changelog.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import structlog

from workers.fold import Record, State, Step, Worker
from workers.runtime.clock import BrokerTime, sleep, wait
from workers.runtime.crash import CrashPoint
from workers.runtime.encoding import encode
from workers.runtime.inbox import Inbox, size
from workers.runtime.notable import notable
from workers.runtime.port import Message, Sent, TopicPartition, TransactionalProducer
from workers.runtime.position import POSITION_KEY, Position
from workers.runtime.restore import Restored
from workers.runtime.surroundings import Surroundings

log = structlog.get_logger("flc.task")

#: Records of one step, at most: 1,000 a transaction carry 63,000 records/s, more gain little …
BATCH_RECORDS = 1_000

#: … and bytes of one step, so that a transaction stays far below its time-out.
BATCH_BYTES = 8 * 1024 * 1024

#: Seconds from one commit to the next but one, at least: an idle task commits at once, twice if need be, and
#: a busy one gathers a batch. Without it the broker is kept busy with the markers of small transactions.
COMMITS_GAP_S = 0.050

#: Seconds after which a step is committed that publishes nothing. Until then it rides along with the next
#: transaction: nobody has seen anything of it, and a crash makes us read its records again.
SILENT_S = 1.0

#: Between two looks at a position that moves without a record to wake us (past markers, which are invisible).
POSITION_S = 0.005

#: A step over so many bytes runs in a thread: parsing them can take the ~100 ms that delay the heartbeats
#: which share the loop. For less, the way to a thread and back costs more than the step.
THREAD_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True)
class Gate:
    """What a tenure sees of its task."""

    inbox: Inbox
    #: Set whenever there may be something to do.
    wake: asyncio.Event
    #: Whether a further record may be taken.
    running: Callable[[], bool]


class Tenure:
    """Serves a partition with a restored state and a producer that owns it."""

    def __init__(
        self,
        worker: Worker[State],
        around: Surroundings,
        gate: Gate,
        producer: TransactionalProducer,
        restored: Restored,
    ) -> None:
        self.position = restored.position
        self._worker = worker
        self._around = around
        self._clock = around.clock
        self._gate = gate
        self._producer = producer
        self._state = restored.state
        self._sizes = restored.sizes
        #: What a flush would write, as it was when one was last looked at; to look costs as much.
        self._changed_bytes = 0
        self._time = BrokerTime(around.clock)
        self._partition = worker.context.partition
        self._inputs = [TopicPartition(topic, self._partition) for topic in worker.inputs]
        self._first = [at for at in self._inputs if at.topic in worker.first]
        #: When the last two commits were made (monotonic seconds).
        self._commits = deque((-COMMITS_GAP_S, -COMMITS_GAP_S), maxlen=2)
        #: Since when (monotonic seconds, or None) and by how many records it is ahead of the changelog.
        self._ahead_since: float | None = None
        self._ahead = 0

    async def prove(self) -> None:
        """Commit the position: its append time sets the clock, and a stale owner is fenced before it acts."""
        await self._commit((), Step())

    async def serve(self) -> None:
        """Handle records and time until the gate closes; raises on any failure, of unknown outcome.

        What is ahead of the changelog then is committed: nobody who takes over reads it again.
        """
        await self._serve()
        if self._ahead_since is not None:
            await self._commit((), Step())

    async def _serve(self) -> None:
        backlog: Mapping[TopicPartition, int] | None = None
        while True:
            await self._keep_pace()
            if not self._gate.running():
                return
            self._gate.wake.clear()
            if backlog is None and self._tick_is_due():
                backlog = await self._ends(self._inputs)
            # Before the next batch: records that keep coming must not put the tick off.
            if backlog is not None and self._handled_up_to(backlog):
                backlog = None
                await self._tick()
                continue
            records = await self._gather()
            if records:
                await self._handle(records)
            elif not self._gate.running():
                return
            elif self.position.flush_is_due(self._time.now_ms()) or self._silent_too_long():
                await self._commit((), Step())
            else:
                await wait(self._clock, self._gate.wake, POSITION_S if backlog else self._patience())

    # -- records

    async def _gather(self) -> list[Record]:
        """Take the next batch: whatever waits, after all that must be known first."""
        inbox = self._gate.inbox
        limits = {at.topic: inbox.waiting(at.topic) for at in self._inputs}
        known = True
        if self._first and any(limits[at.topic] for at in self._inputs if at not in self._first):
            # Captured after the others were fetched: what precedes them in time is before these ends.
            ends = await self._ends(self._first)
            while not all(self._around.feed.position(at) >= end for at, end in ends.items()):
                if any(inbox.full(at.topic) for at in self._first):
                    known = False  # no more is fetched until these are taken: a batch of their own
                    break
                self._gate.wake.clear()
                await wait(self._clock, self._gate.wake, POSITION_S)
                if not self._gate.running():
                    return []
        if not self._gate.running():
            return []
        first = {at.topic: inbox.waiting(at.topic) for at in self._first}
        records = inbox.take(first, BATCH_RECORDS, BATCH_BYTES)
        if known and not any(inbox.waiting(topic) for topic in first):
            others = {topic: limit for topic, limit in limits.items() if topic not in first}
            room = BATCH_BYTES - sum(map(size, records))
            if len(records) < BATCH_RECORDS and room > 0:
                records += inbox.take(others, BATCH_RECORDS - len(records), room)
        if records:
            self._around.feed.taken(self._partition)
        return records

    async def _handle(self, records: Sequence[Record]) -> None:
        started = self._clock.monotonic()
        oldest_ms = min(
            (record.append_ms for record in records if record.append_ms), default=self._time.now_ms()
        )
        self._time.saw(max(record.append_ms for record in records))
        if self._bytes_at_hand(records) > THREAD_BYTES:
            step = await asyncio.to_thread(self._worker.step, self._state, records)
        else:
            step = self._worker.step(self._state, records)
        if step.emits or self._ahead + len(records) >= BATCH_RECORDS or self._silent_too_long():
            await self._commit(records, step, self._clock.monotonic() - started)
        else:
            self._keep_silent(records, step)
        metrics, name = self._around.metrics, self._worker.name
        metrics.batch_duration.labels(name).observe(self._clock.monotonic() - started)
        metrics.record_age.labels(name).observe(max(0, self._time.now_ms() - oldest_ms) / 1000)

    def _bytes_at_hand(self, records: Sequence[Record]) -> int:
        """Return how many bytes a step may go over: a lazily flushed worker sums up its whole state."""
        state = self._sizes.total + self.position.input_bytes if self._worker.flushed_lazily else 0
        return sum(map(size, records)) + state

    # -- time

    def _tick_is_due(self) -> bool:
        deadline = self._deadline()
        return deadline is not None and self._time.now_ms() >= deadline

    def _deadline(self) -> int | None:
        # Ticks are not in the log, so a state that is folded again from it must not depend on them.
        return None if self._worker.flushed_lazily else self._worker.deadline(self._state)

    async def _tick(self) -> None:
        if not self._tick_is_due():
            return  # a record of the backlog moved the deadline
        step = self._worker.tick(self._state, self._time.now_ms())
        if step.emits or self._state.changed:
            await self._commit((), step)
        else:
            # Keeps the pace, should the deadline stay in the past.
            self._commits.append(self._clock.monotonic())

    def _handled_up_to(self, ends: Mapping[TopicPartition, int]) -> bool:
        for at, end in ends.items():
            waiting = self._gate.inbox.first_offset(at.topic)
            if (self._around.feed.position(at) if waiting is None else waiting) < end:
                return False
        return True

    def _patience(self) -> float | None:
        """Return the seconds until time alone gives something to do, or None."""
        due = [moment for moment in (self._deadline(), self.position.flush_deadline) if moment is not None]
        waits = [(moment - self._time.now_ms()) / 1000 for moment in due]
        if self._ahead_since is not None:
            waits.append(self._ahead_since + SILENT_S - self._clock.monotonic())
        return max(0.0, min(waits)) if waits else None

    def _silent_too_long(self) -> bool:
        since = self._ahead_since
        return since is not None and self._clock.monotonic() >= since + SILENT_S

    async def _keep_pace(self) -> None:
        remaining = self._commits[0] + COMMITS_GAP_S - self._clock.monotonic()
        if remaining > 0 and self._gate.running():
            await sleep(self._clock, remaining)

    async def _ends(self, partitions: Sequence[TopicPartition]) -> Mapping[TopicPartition, int]:
        return await self._around.bus.end_offsets(partitions)

    # -- commits

    def _keep_silent(self, records: Sequence[Record], step: Step) -> None:
        """Move on without a transaction."""
        self.position = self._after(records)
        self._ahead += len(records)
        if self._ahead_since is None:
            self._ahead_since = self._clock.monotonic()
        self._around.metrics.handled(self._worker.name, records, step)
        self._around.feed.progressed()
        self._tell(step)

    def _after(self, records: Sequence[Record]) -> Position:
        return self.position.read(
            {record.topic: record.offset + 1 for record in records}, sum(map(size, records))
        )

    def _tell(self, step: Step) -> None:
        for emit in step.emits:
            if (line := notable(emit.event)) is not None:
                event, fields = line
                log.info(event, worker=self._worker.name, partition=self._partition, **fields)

    async def _commit(self, records: Sequence[Record], step: Step, took_s: float = 0.0) -> None:
        """Make a step happen, which took so long so far: all of it, or none.

        1. Outputs and dead letters, the changed state, the position: in one transaction.
        2. Only when that has returned is the state what the changelog says, and the step counted.
        """
        if step.emits:
            self._reached(CrashPoint.BEFORE_PUBLISH)
        position = self._after(records)
        now_ms = self._time.now_ms()
        changes = self._to_flush(position, now_ms, publishing=bool(step.emits))
        if changes is not None:
            position = position.flush(now_ms)
        changelog = [*(changes or ()), (POSITION_KEY, position.encode())]
        source = f"/flc/{self._worker.name}/{self._partition}"
        tracing, worker = self._around.tracing, self._worker.name
        with tracing.hop(worker, self._partition, records, step.emits, took_s) as hop:
            messages = [encode(emit, source, hop.headers(emit)) for emit in step.emits]
            messages += [
                Message(self._around.changelog, self._partition, key, value) for key, value in changelog
            ]
            sent = await self._transact(messages, publishing=bool(step.emits))
        if step.emits:
            self._reached(CrashPoint.AFTER_COMMIT)
        self._time.saw(max(one.append_ms for one in sent))
        self.position = position
        if changes is not None:
            self._state.flushed()
            self._changed_bytes = 0
            for key, value in changes:
                self._sizes.put(key, value)
        self._commits.append(self._clock.monotonic())
        self._ahead_since, self._ahead = None, 0
        self._around.metrics.committed(self._worker.name)
        self._around.metrics.handled(self._worker.name, records, step)
        self._around.feed.progressed()
        self._tell(step)

    def _to_flush(
        self, position: Position, now_ms: int, *, publishing: bool
    ) -> list[tuple[bytes, bytes | None]] | None:
        """Return what changed since the last flush, or None: the changelog has to wait for it."""
        if not self._worker.flushed_lazily:
            return list(self._state.changes())
        due = position.flush_is_due(now_ms)
        # Behind what has been published, where a flush is smallest: what waited has replaced what was there.
        if not due and not (publishing and position.flush_pays(self._changed_bytes)):
            return None
        changes = list(self._state.changes())
        self._changed_bytes = sum(len(key) + len(value or b"") for key, value in changes)
        return changes if due or position.flush_pays(self._changed_bytes) else None

    async def _transact(self, messages: Sequence[Message], *, publishing: bool) -> list[Sent]:
        try:
            return await self._producer.transact(
                messages, (lambda: self._reached(CrashPoint.AFTER_PUBLISH)) if publishing else None
            )
        except BaseException:
            self._around.metrics.transactions.labels(self._worker.name, "unknown").inc()
            raise

    def _reached(self, point: CrashPoint) -> None:
        self._around.crash.reached(self._worker.name, point)
