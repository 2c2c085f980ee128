"""A reader of given partitions, without a group."""

from collections.abc import Mapping

from aiokafka import AIOKafkaConsumer

from workers.fold import Record
from workers.runtime.kafka import reading
from workers.runtime.kafka.reading import Cursor
from workers.runtime.port import TopicPartition


class KafkaReader:
    """Reads partitions that it is told, read_committed."""

    def __init__(self, consumer: AIOKafkaConsumer) -> None:
        self._consumer = consumer
        self._cursor = Cursor(consumer)
        self.closed = False

    def assign(self, positions: Mapping[TopicPartition, int]) -> None:
        """Read these partitions from these offsets."""
        self._consumer.assign([reading.kafka_partition(one) for one in positions])
        for one, offset in positions.items():
            self.seek(one, offset)

    async def poll(self, timeout_s: float, max_records: int = 5_000) -> list[Record]:
        """Return what is there, partition by partition; raises OffsetLost, Corrupt or Unavailable."""
        fetched = await self._cursor.fetch(timeout_s, max_records)
        return [reading.record(one) for records in fetched.values() for one in records]

    def seek(self, partition: TopicPartition, offset: int) -> None:
        """Read on from ``offset``."""
        self._cursor.seek(reading.kafka_partition(partition), offset)

    def position(self, partition: TopicPartition) -> int:
        """Return the next offset to be read: behind everything that is invisible, too."""
        return self._cursor.position(partition)

    async def close(self) -> None:
        """Release the connection; never hangs."""
        self.closed = True
        await reading.stop(self._consumer)
