"""A member of a consumer group.

aiokafka runs the rebalance callbacks in another task, fetches new partitions before the assigned callback
returns, and forgets positions and pauses of kept partitions. So here every assignment starts paused, at a
position that ``seek`` must set, and records of partitions that were not resumed are dropped.
"""

from collections.abc import Collection, Mapping

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener
from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from aiokafka.structs import TopicPartition as KafkaPartition

from workers.fold import Record
from workers.runtime.clock import unix_ms
from workers.runtime.kafka import reading
from workers.runtime.kafka.connection import REQUEST_LIMIT_S, within
from workers.runtime.kafka.reading import Cursor, kafka_partition
from workers.runtime.port import Rebalanced, TopicPartition
from workers.settings import Settings

#: Milliseconds that members have to rejoin; aiokafka's default, the session time-out, is too short.
REBALANCE_TIMEOUT_MS = 60_000

#: Milliseconds of a request: a JoinGroup waits for the slowest member.
REQUEST_TIMEOUT_MS = REBALANCE_TIMEOUT_MS + 10_000


class KafkaConsumer(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka has no types
    """A member of a group; Range assignment gives partitions with the same number to the same member."""

    def __init__(self, consumer: AIOKafkaConsumer, assigned: Rebalanced, revoked: Rebalanced) -> None:
        self._consumer = consumer
        self._cursor = Cursor(consumer)
        self._assigned = assigned
        self._revoked = revoked
        self._resumed: set[TopicPartition] = set()
        self.closed = False

    async def on_partitions_revoked(self, revoked: Collection[KafkaPartition]) -> None:
        """Close the gate of every partition, then tell."""
        self._resumed.clear()
        await self._revoked([TopicPartition(*one) for one in revoked])

    async def on_partitions_assigned(self, assigned: Collection[KafkaPartition]) -> None:
        """Pause everything at once, then tell."""
        self._resumed.clear()
        self._consumer.pause(*assigned)
        for partition in assigned:
            # Any position will do, it only keeps aiokafka from looking for a committed one.
            self._cursor.seek(partition, 0)
        await self._assigned([TopicPartition(*one) for one in assigned])

    async def poll(self, timeout_s: float, max_records: int = 5_000) -> dict[TopicPartition, list[Record]]:
        """Return records of partitions that are not paused; raises OffsetLost, Corrupt or Unavailable."""
        fetched = await self._cursor.fetch(timeout_s, max_records)
        return {
            TopicPartition(*partition): [reading.record(one) for one in records]
            for partition, records in fetched.items()
            if partition in self._resumed
        }

    def pause(self, *partitions: TopicPartition) -> None:
        """Stop fetching; what is buffered is dropped."""
        self._resumed.difference_update(partitions)
        self._consumer.pause(*map(kafka_partition, partitions))

    def resume(self, *partitions: TopicPartition) -> None:
        """Fetch again."""
        self._consumer.resume(*map(kafka_partition, partitions))
        self._resumed.update(partitions)

    def seek(self, partition: TopicPartition, offset: int) -> None:
        """Read on from ``offset``."""
        self._cursor.seek(kafka_partition(partition), offset)

    def position(self, partition: TopicPartition) -> int:
        """Return the next offset to be read."""
        return self._cursor.position(partition)

    async def commit(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Commit offsets to the group, for the display of lag only."""
        async with within(REQUEST_LIMIT_S, "committing offsets"):
            # The time goes along: an idle member commits the same offset again, and that is a sign of life.
            now = str(unix_ms())
            await self._consumer.commit(
                {kafka_partition(one): (offset, now) for one, offset in offsets.items()}
            )

    async def close(self) -> None:
        """Leave the group; never hangs."""
        self.closed = True
        self._resumed.clear()
        await reading.stop(self._consumer)


async def join(
    settings: Settings, group: str, topics: Collection[str], *, assigned: Rebalanced, revoked: Rebalanced
) -> KafkaConsumer:
    """Return a started member of ``group``; raises Unavailable."""
    consumer = await reading.start(
        settings,
        group_id=group,
        group_instance_id=settings.group_instance_id,
        partition_assignment_strategy=(RangePartitionAssignor,),
        session_timeout_ms=settings.session_timeout_ms,
        heartbeat_interval_ms=settings.heartbeat_ms,
        rebalance_timeout_ms=REBALANCE_TIMEOUT_MS,
        request_timeout_ms=REQUEST_TIMEOUT_MS,
    )
    member = KafkaConsumer(consumer, assigned, revoked)
    # Subscribed after the start, which would otherwise wait for the group's rebalance.
    consumer.subscribe(topics=list(topics), listener=member)
    return member
