"""The bus on Apache Kafka."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Protocol, TypeVar

from aiokafka import AIOKafkaConsumer

from workers.runtime.kafka import decompression, producer, reading
from workers.runtime.kafka.admin import Admin
from workers.runtime.kafka.connection import REQUEST_LIMIT_S, address, within
from workers.runtime.kafka.consumer import KafkaConsumer, join
from workers.runtime.kafka.producer import KafkaProducer, KafkaTransactionalProducer
from workers.runtime.kafka.reader import KafkaReader
from workers.runtime.port import GroupDescription, Rebalanced, TopicDescription, TopicPartition
from workers.settings import Settings

#: As a position: the end, the beginning.
AT_END, AT_BEGINNING = -1, -2


class _Closable(Protocol):
    closed: bool

    async def close(self) -> None: ...


C = TypeVar("C", bound=_Closable)


class KafkaBus:
    """A connection to a Kafka cluster; clients are made when they are needed, and closed with the bus.

    Offsets are asked for on clients of their own: on a fetching one the question waits behind its long poll.
    """

    def __init__(self, settings: Settings) -> None:
        decompression.install()
        self._settings = settings
        self._address = address(settings)
        self._open: list[_Closable] = []
        self._starting = asyncio.Lock()
        self._offsets: dict[bool, AIOKafkaConsumer] = {}
        self._admin: Admin | None = None

    def _opened(self, client: C) -> C:
        self._open = [one for one in self._open if not one.closed]
        self._open.append(client)
        return client

    async def producer(self) -> KafkaProducer:
        """Return a started idempotent producer; raises Unavailable."""
        return self._opened(KafkaProducer(await producer.start(self._settings), self._address))

    async def transactional_producer(
        self, transactional_id: str, timeout_ms: int
    ) -> KafkaTransactionalProducer:
        """Return a started producer that owns ``transactional_id``; raises Unavailable."""
        started = await producer.start(
            self._settings, transactional_id=transactional_id, transaction_timeout_ms=timeout_ms
        )
        return self._opened(KafkaTransactionalProducer(started, self._address, timeout_ms))

    async def reader(self, positions: Mapping[TopicPartition, int]) -> KafkaReader:
        """Return a started read_committed reader at the given offsets (-1: the end, -2: the beginning)."""
        resolved = dict(positions)
        if at_end := [one for one, offset in positions.items() if offset == AT_END]:
            resolved |= await self.end_offsets(at_end)
        if at_beginning := [one for one, offset in positions.items() if offset == AT_BEGINNING]:
            resolved |= await self.beginning_offsets(at_beginning)
        asking = await self._offsets_client(committed=True)
        async with within(REQUEST_LIMIT_S, f"reading Kafka at {self._address}"):
            await reading.known(asking, {one.topic for one in resolved})
        started = self._opened(KafkaReader(await reading.start(self._settings)))
        started.assign(resolved)
        return started

    async def consumer(
        self, group: str, topics: Sequence[str], *, assigned: Rebalanced, revoked: Rebalanced
    ) -> KafkaConsumer:
        """Return a started read_committed member of the group; raises Unavailable."""
        member = await join(self._settings, group, topics, assigned=assigned, revoked=revoked)
        return self._opened(member)

    async def end_offsets(
        self, partitions: Collection[TopicPartition], *, committed: bool = True
    ) -> dict[TopicPartition, int]:
        """Return the end of each partition; ``committed``: before the first open transaction."""
        client = await self._offsets_client(committed=committed)
        return await self._ask(client, client.end_offsets, partitions, "end offsets")

    async def beginning_offsets(self, partitions: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        """Return the first offset of each partition."""
        client = await self._offsets_client(committed=True)
        return await self._ask(client, client.beginning_offsets, partitions, "beginning offsets")

    async def offsets_at(
        self, partitions: Collection[TopicPartition], time_ms: int
    ) -> dict[TopicPartition, int]:
        """Return the first offset of each partition whose append time is ``time_ms`` or later, or its end."""
        if not partitions:
            return {}
        client = await self._offsets_client(committed=True)
        async with within(REQUEST_LIMIT_S, f"offsets by time of Kafka at {self._address}"):
            await reading.known(client, {one.topic for one in partitions})
            answer = await client.offsets_for_times(
                {reading.kafka_partition(one): max(0, time_ms) for one in partitions}
            )
        found = {TopicPartition(*one): at.offset for one, at in answer.items() if at is not None}
        return found | await self.end_offsets([one for one in partitions if one not in found])

    async def group(self, name: str) -> GroupDescription:
        """Return a consumer group; one that is not known has neither members nor commits."""
        return await (await self._admin_client()).group(name)

    async def _ask(
        self,
        client: AIOKafkaConsumer,
        question: Callable[[list[TopicPartition]], Awaitable[Mapping[TopicPartition, int]]],
        partitions: Collection[TopicPartition],
        what: str,
    ) -> dict[TopicPartition, int]:
        if not partitions:
            return {}
        async with within(REQUEST_LIMIT_S, f"{what} of Kafka at {self._address}"):
            await reading.known(client, {one.topic for one in partitions})
            answer = await question([reading.kafka_partition(one) for one in partitions])
        return {TopicPartition(*one): offset for one, offset in answer.items()}

    async def _offsets_client(self, *, committed: bool) -> AIOKafkaConsumer:
        async with self._starting:
            if committed not in self._offsets:
                self._offsets[committed] = await reading.start(self._settings, committed=committed)
            return self._offsets[committed]

    async def _admin_client(self) -> Admin:
        async with self._starting:
            if self._admin is None:
                self._admin = await Admin.start(self._settings)
            return self._admin

    async def describe(self, topics: Collection[str]) -> dict[str, TopicDescription]:
        """Return the topics that exist, with their effective configs, defaults included."""
        return await (await self._admin_client()).describe(topics)

    async def create(self, topics: Collection[TopicDescription]) -> None:
        """Create topics; one that exists is left as it is. Raises BusError with the broker's words."""
        await (await self._admin_client()).create(topics)

    async def configure(self, topic: str, configs: Mapping[str, str]) -> None:
        """Set configs of a topic; what else is set on it stays."""
        await (await self._admin_client()).configure(topic, configs)

    async def close(self) -> None:
        """Release all connections, those of its producers, readers and consumers too; never hangs."""
        closing = [client.close() for client in self._open]
        closing += [reading.stop(client) for client in self._offsets.values()]
        if self._admin is not None:
            closing.append(self._admin.close())
        self._open.clear()
        self._offsets.clear()
        self._admin = None
        await asyncio.gather(*closing)
