"""From a changelog to the state of a task; the second half of a take-over.

1. The producer has started: the predecessor is fenced, its transaction aborted, nothing is added any more.
2. Capture the changelog's end, decided or not.
3. Read it (read_committed) until the position has passed that end: markers take offsets, records may not.
4. A lazily flushed state is at C; fold the input [C, P) again and drop the outputs.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from workers.fold import Record, State, Worker
from workers.runtime.clock import Clock
from workers.runtime.deadline import Deadline
from workers.runtime.failures import HangingTransaction, HistoryLost, NoProgress
from workers.runtime.inbox import holes
from workers.runtime.port import Bus, Corrupt, Reader, TopicPartition
from workers.runtime.position import POSITION_KEY, Position, Sizes

#: A broker looks for timed-out transactions every so often
#: (transaction.abort.timed.out.transaction.cleanup.interval.ms).
CLEANUP_INTERVAL_S = 10.0

#: How long one poll of a restore waits.
POLL_S = 0.5


@dataclass(frozen=True, slots=True)
class Restored:
    """The state of a task and where it stands."""

    state: State
    position: Position
    sizes: Sizes
    #: Inputs whose retention removed records that were never read: (topic, position, now the first offset).
    lost: tuple[tuple[str, int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Restore:
    """One restore of one task."""

    bus: Bus
    clock: Clock
    worker: Worker[State]
    changelog: TopicPartition
    #: Longest life of an open transaction on the changelog, in seconds.
    transaction_timeout_s: float
    #: Called after every batch that was read.
    progressed: Callable[[], None]

    async def run(self) -> Restored:
        """Return the restored state; raises HistoryLost, HangingTransaction, NoProgress or BusError."""
        state, position, sizes = await self._load()
        inputs = [TopicPartition(topic, self.changelog.partition) for topic in self.worker.inputs]
        starts = await self.bus.beginning_offsets(inputs)
        ends = await self.bus.end_offsets(inputs)
        if position is None:
            first = {at.topic: starts[at] for at in inputs}
            return Restored(state, Position(first, first), sizes)
        lost: list[tuple[str, int, int]] = []
        following = dict(position.next)
        for at in inputs:
            start = starts[at]
            # An input that was added to the worker after its last run is read from its beginning.
            wanted = following.setdefault(at.topic, start)
            if wanted > ends[at]:
                raise HistoryLost(at, wanted, start, ends[at])
            if self.worker.flushed_lazily and (needed := position.covered.get(at.topic, start)) < start:
                raise HistoryLost(at, needed, start, ends[at])
            if wanted < start:
                lost.append((at.topic, wanted, start))
                following[at.topic] = start
        covered = dict(position.covered) if self.worker.flushed_lazily else following
        position = Position(following, covered, position.input_bytes, position.flushed_ms)
        if not position.flushed:
            await self._fold_again(state, position)
        return Restored(state, position, sizes, tuple(lost))

    async def _load(self) -> tuple[State, Position | None, Sizes]:
        state, position, sizes = self.worker.state(), None, Sizes()
        target = (await self.bus.end_offsets([self.changelog], committed=False))[self.changelog]
        reader = await self.bus.reader({self.changelog: -2})
        try:
            async for records in self._until(reader, self.changelog, target):
                for record in records:
                    if record.key == POSITION_KEY:
                        position = Position.decode(record.value or b"")
                    elif record.key is not None:
                        state.load(record.key, record.value)
                        sizes.put(record.key, record.value)
        finally:
            await reader.close()
        return state, position, sizes

    async def _fold_again(self, state: State, position: Position) -> None:
        (topic,) = self.worker.inputs
        at = TopicPartition(topic, self.changelog.partition)
        until = position.next[topic]
        reader = await self.bus.reader({at: position.covered[topic]})
        folding: asyncio.Future[None] | None = None
        try:
            async for records in self._until(reader, at, until):
                # In a thread, so that the next records are fetched meanwhile.
                if folding is not None:
                    await folding
                folding = asyncio.ensure_future(asyncio.to_thread(self.worker.again, state, records))
            if folding is not None:
                await folding
        finally:
            await reader.close()

    async def _until(self, reader: Reader, at: TopicPartition, target: int) -> AsyncIterator[list[Record]]:
        """Yield what there is before ``target``, until the reader has passed it; raises when it stands still.

        What stands behind it was written by somebody who has fenced us, or is for whoever serves to read.
        """
        patience = Deadline(self.clock, self.transaction_timeout_s + CLEANUP_INTERVAL_S)
        position = reader.position(at)
        while position < target:
            try:
                records = await reader.poll(POLL_S)
            except Corrupt as error:
                if at.topic == self.changelog.topic:
                    raise
                # As the dispatcher does: the fold is to see again what it saw.
                records = holes(error)
                reader.seek(at, records[-1].offset + 1)
            if before := [record for record in records if record.offset < target]:
                yield before
            if reader.position(at) > position:
                position = reader.position(at)
                patience.extend()
                self.progressed()
            elif patience.expired:
                stable = (await self.bus.end_offsets([at]))[at]
                if stable < target:
                    raise HangingTransaction(at, stable)
                raise NoProgress(f"{at.topic}/{at.partition}: no progress at {position} of {target}")
