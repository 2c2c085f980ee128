"""What was fetched for a task and not yet handled."""

from collections import deque
from collections.abc import Mapping, Sequence

from workers.fold import Record
from workers.runtime.port import Corrupt

#: A topic of a partition is not fetched further while so many of its records wait …
FULL_RECORDS = 5_000

#: … or so many bytes.
FULL_BYTES = 16 * 1024 * 1024

#: So many records of a batch that cannot be decoded are handed out at once. In 1 MiB there is room for many
#: millions, compressed; what is left of it is fetched again, and found to be corrupt again.
MAX_HOLES = 20_000


def size(record: Record) -> int:
    """Return the bytes of a record's key and value."""
    return len(record.key or b"") + len(record.value or b"")


def holes(corrupt: Corrupt) -> list[Record]:
    """Return what a fold gets for records whose bytes cannot be decoded: no key, no value, no time.

    One at least, for the length may be damaged too, and at most ``MAX_HOLES``; read on behind the last.
    """
    end = max(corrupt.offset + 1, min(corrupt.next_offset, corrupt.offset + MAX_HOLES))
    return [
        Record(*corrupt.partition, offset, append_ms=0, key=None, value=None)
        for offset in range(corrupt.offset, end)
    ]


class Inbox:
    """The waiting records of one partition number, a queue for each input topic."""

    def __init__(self, topics: Sequence[str]) -> None:
        self._queues: dict[str, deque[Record]] = {topic: deque() for topic in topics}
        self._bytes: dict[str, int] = dict.fromkeys(topics, 0)

    def put(self, topic: str, records: Sequence[Record]) -> None:
        """Add records behind those that wait."""
        self._queues[topic].extend(records)
        self._bytes[topic] += sum(map(size, records))

    def clear(self) -> None:
        """Forget everything."""
        for topic, queue in self._queues.items():
            queue.clear()
            self._bytes[topic] = 0

    def waiting(self, topic: str) -> int:
        """Return how many records of a topic wait."""
        return len(self._queues[topic])

    def full(self, topic: str) -> bool:
        """Return whether enough of a topic waits."""
        return len(self._queues[topic]) >= FULL_RECORDS or self._bytes[topic] >= FULL_BYTES

    def first_offset(self, topic: str) -> int | None:
        """Return the offset of the first waiting record of a topic."""
        queue = self._queues[topic]
        return queue[0].offset if queue else None

    def take(self, limits: Mapping[str, int], max_records: int, max_bytes: int) -> list[Record]:
        """Remove and return the oldest records, at most ``limits[topic]`` of a topic.

        Topics are merged by append time, so that none starves and a fold sees about what the broker saw.
        A single record may be larger than ``max_bytes``.
        """
        taken: list[Record] = []
        left = {topic: limit for topic, limit in limits.items() if limit > 0 and self._queues[topic]}
        taken_bytes = 0
        while left and len(taken) < max_records:
            topic = min(left, key=lambda name: self._queues[name][0].append_ms)
            queue = self._queues[topic]
            weight = size(queue[0])
            if taken and taken_bytes + weight > max_bytes:
                break
            taken.append(queue.popleft())
            taken_bytes += weight
            self._bytes[topic] -= weight
            left[topic] -= 1
            if not queue or left[topic] == 0:
                del left[topic]
        return taken
