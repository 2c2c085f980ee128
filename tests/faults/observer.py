"""The reader that looks on during the faults: what it sees must be in the final log, in its order.

It reads everything that is committed, from the beginning of every topic, and keeps of each record where it
stood and what it was; of the changelogs how far each task has come.
"""

import asyncio
import time
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from hashlib import blake2b

from schemas.convergence import KnowledgeAnnounced
from workers.fold import Record
from workers.runtime.kafka import KafkaBus
from workers.runtime.port import BusError, Corrupt, Reader, TopicPartition
from workers.runtime.position import POSITION_KEY, Position

#: Seconds that one poll waits.
POLL_S = 0.5

#: Seconds to wait before the next try while the broker is away.
AWAY_S = 0.2

Announced = Callable[[str, str], Awaitable[None]]


def digest(record: Record) -> bytes:
    """Return what tells a record from any other."""
    content = repr((record.append_ms, record.key, record.value, record.headers)).encode()
    return blake2b(content, digest_size=8).digest()


class Observer:
    """Reads while it runs. ``announced`` is told of knowledge that is announced: (federation, round)."""

    def __init__(
        self,
        bus: KafkaBus,
        partitions: Sequence[TopicPartition],
        changelogs: Mapping[str, str],
        announced: Announced,
    ) -> None:
        #: Partition -> (offset, digest) of every record that was seen, as it came.
        self.seen: dict[TopicPartition, list[tuple[int, bytes]]] = defaultdict(list)
        #: (worker, partition) -> how far its task has come.
        self.positions: dict[tuple[str, int], Position] = {}
        #: (worker, partition) -> how often its task has committed.
        self.commits: Counter[tuple[str, int]] = Counter()
        #: When something was last seen on a topic that is no changelog (monotonic seconds).
        self.moved_s = 0.0
        #: How often the broker was away.
        self.outages = 0
        self._bus = bus
        self._changelogs = changelogs
        self._next = dict.fromkeys(partitions, 0)
        self._announced = announced

    async def run(self) -> None:
        """Read until cancelled."""
        while True:
            reader: Reader | None = None
            try:
                reader = await self._bus.reader(self._next)
                while True:
                    await self._read(reader)
            except BusError:
                self.outages += 1
                await asyncio.sleep(AWAY_S)
            finally:
                if reader is not None:
                    await reader.close()

    async def _read(self, reader: Reader) -> None:
        try:
            records = await reader.poll(POLL_S)
        except Corrupt as error:
            reader.seek(error.partition, error.next_offset)
            return
        for record in records:
            at = TopicPartition(record.topic, record.partition)
            self._next[at] = record.offset + 1
            worker = self._changelogs.get(record.topic)
            if worker is None:
                self.seen[at].append((record.offset, digest(record)))
                self.moved_s = time.monotonic()
                if ("ce_type", KnowledgeAnnounced.__name__.encode()) in record.headers:
                    event = KnowledgeAnnounced.model_validate_json(record.value or b"")
                    await self._announced(event.federation, event.round_id)
            elif record.key == POSITION_KEY:
                self.commits[worker, record.partition] += 1
                self.positions[worker, record.partition] = Position.decode(record.value or b"")

    def last(self, at: TopicPartition) -> int:
        """Return the offset of the last record that was seen of a partition, -1 if there is none."""
        seen = self.seen.get(at)
        return seen[-1][0] if seen else -1

    def behind(self, inputs: Mapping[str, Sequence[str]], partitions: Mapping[str, int]) -> list[str]:
        """Return the tasks (of worker -> its inputs) that have not read all that was seen."""
        late = []
        for worker, topics in inputs.items():
            for partition in range(partitions[topics[0]]):
                position = self.positions.get((worker, partition))
                for topic in topics:
                    last = self.last(TopicPartition(topic, partition))
                    reached = -1 if position is None else position.next.get(topic, 0) - 1
                    if reached < last:
                        late.append(f"{worker}/{partition}: {topic} at {reached} of {last}")
        return late
