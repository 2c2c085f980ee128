"""Reading through an aiokafka consumer: what readers and group members share."""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from aiokafka import AIOKafkaConsumer
from aiokafka.errors import NoOffsetForPartitionError
from aiokafka.structs import ConsumerRecord
from aiokafka.structs import TopicPartition as KafkaPartition

from workers.fold import Record
from workers.runtime.kafka.connection import REQUEST_LIMIT_S, arguments, end, starting, within
from workers.runtime.kafka.corruption import before_the_batch, undecodable
from workers.runtime.port import BusError, TopicPartition
from workers.settings import Settings

Fetched = Mapping[KafkaPartition, Sequence[ConsumerRecord[Any, Any]]]

#: Seconds that a poll may take beyond its time-out: aiokafka ignores the time-out during a rebalance.
_POLL_GRACE_S = 0.5


async def start(settings: Settings, *, committed: bool = True, **more: Any) -> AIOKafkaConsumer:
    """Return a started aiokafka consumer that commits nothing by itself and resets to nowhere."""
    consumer = AIOKafkaConsumer(
        **arguments(settings),
        isolation_level="read_committed" if committed else "read_uncommitted",
        enable_auto_commit=False,
        auto_offset_reset="none",
        **more,
    )
    try:
        async with starting(settings):
            await consumer.start()
    except BaseException:
        await stop(consumer)
        raise
    return consumer


async def stop(consumer: AIOKafkaConsumer) -> None:
    """Leave the group and close the connections; never hangs."""
    await end(consumer.stop, consumer._client.close)  # noqa: SLF001


async def known(consumer: AIOKafkaConsumer, topics: Collection[str]) -> None:
    """Wait until the topics are known to the client; raises TopicAuthorizationFailedError.

    aiokafka's own calls wait in silence for a topic that nobody lets them see.
    """
    for topic in topics:
        await consumer._client._wait_on_metadata(topic)  # noqa: SLF001


def kafka_partition(partition: TopicPartition) -> KafkaPartition:
    """Return aiokafka's own type, which it insists on."""
    return KafkaPartition(partition.topic, partition.partition)


def positions(consumer: AIOKafkaConsumer) -> dict[KafkaPartition, int]:
    """Return the next offset of every partition that has one."""
    subscription = consumer._subscription.subscription  # noqa: SLF001
    if subscription is None or subscription.assignment is None:
        return {}
    states = {one: subscription.assignment.state_value(one) for one in subscription.assignment.tps}
    return {one: state.position for one, state in states.items() if state.has_valid_position}


def record(fetched: ConsumerRecord[Any, Any]) -> Record:
    """Return the record as folds know it."""
    return Record(
        fetched.topic,
        fetched.partition,
        fetched.offset,
        fetched.timestamp,
        fetched.key,
        fetched.value,
        tuple(fetched.headers),
    )


class Cursor:
    """Where an aiokafka consumer reads, and its polls. All seeks go through here, those during a poll too."""

    def __init__(self, consumer: AIOKafkaConsumer) -> None:
        self._consumer = consumer
        self._before: dict[KafkaPartition, int] = {}

    def seek(self, partition: KafkaPartition, offset: int) -> None:
        """Read on from ``offset``."""
        self._consumer.seek(partition, offset)
        self._before[partition] = offset

    def position(self, partition: TopicPartition) -> int:
        """Return the next offset; aiokafka's own ``position`` may wait. Raises BusError if there is none."""
        try:
            return positions(self._consumer)[kafka_partition(partition)]
        except KeyError:
            raise BusError(f"{partition.topic}/{partition.partition} has no position here") from None

    async def fetch(self, timeout_s: float, max_records: int) -> Fetched:
        """Return what is there, waiting up to ``timeout_s`` for a first record.

        Raises OffsetLost; Corrupt where a batch cannot be decoded; Unavailable or BusError.
        """
        self._before = positions(self._consumer)
        try:
            async with asyncio.timeout(timeout_s + _POLL_GRACE_S):
                fetched: Fetched = await self._consumer.getmany(
                    timeout_ms=int(timeout_s * 1000), max_records=max_records
                )
        except TimeoutError:
            return {}
        except NoOffsetForPartitionError:
            return {}  # assigned a moment ago: positions come from ``seek``
        except Exception as error:
            async with within(REQUEST_LIMIT_S, "polling Kafka"):
                batch = undecodable(error)
                if batch is None:
                    raise
                return await before_the_batch(self._consumer, batch, self._before, max_records)
        return fetched
