"""Producers: plain (idempotent) and transactional. Both are dead after their first failure.

After a failed batch a partition's sequence numbers stay wrong for good, and after a time-out the outcome is
unknown: close the producer and make a new one.
"""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import ProducerClosed
from aiokafka.producer import sender
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.structs import RecordMetadata

from workers.runtime.kafka.connection import REQUEST_LIMIT_S, arguments, end, starting, within
from workers.runtime.port import Message, Sent, Unavailable
from workers.settings import Settings

#: Bytes of a request: a record of 1 MiB and its overhead, as the topics allow.
MAX_REQUEST_BYTES = 1_114_112

#: Bytes of a batch: with aiokafka's 16 kB, throughput is half.
BATCH_BYTES = 256 * 1024

#: Seconds until a transaction is tried again that comes before the broker has written the markers of the last
#: one. That takes some 3 ms; aiokafka waits 20, and has no option for it.
sender.BACKOFF_OVERRIDE = 0.004


async def start(settings: Settings, **more: Any) -> AIOKafkaProducer:
    """Return a started aiokafka producer; raises Unavailable."""
    producer = AIOKafkaProducer(
        **arguments(settings),
        enable_idempotence=True,
        acks="all",
        max_request_size=MAX_REQUEST_BYTES,
        max_batch_size=BATCH_BYTES,
        **more,
    )
    try:
        async with starting(settings):
            await producer.start()
    except BaseException:
        await abandon(producer)
        raise
    return producer


async def _send_all(producer: AIOKafkaProducer, messages: Sequence[Message]) -> list[Sent]:
    """Send and wait for every acknowledgement; raises the first error once all have an answer.

    A failed send does not poison a transaction: who commits without a look at every future loses data.
    Whole batches go out: a future for each record costs more than all the rest of sending it.
    """
    sending: list[tuple[Sequence[int], asyncio.Future[RecordMetadata]]] = []
    try:
        for (topic, partition), places, batch in _batches(producer, messages):
            sending.append((places, await producer.send_batch(batch, topic, partition=partition)))
    finally:
        answers = await asyncio.gather(*(future for _, future in sending), return_exceptions=True)
    sent: dict[int, Sent] = {}
    for (places, _), answer in zip(sending, answers, strict=True):
        if isinstance(answer, BaseException):
            raise answer
        for offset, place in enumerate(places, answer.offset):
            sent[place] = Sent(answer.topic, answer.partition, offset, answer.timestamp)
    return [sent[place] for place in range(len(messages))]


def _batches(
    producer: AIOKafkaProducer, messages: Sequence[Message]
) -> Iterator[tuple[tuple[str, int], Sequence[int], BatchBuilder]]:
    """Yield the batches of each partition and the places of their messages, which keep their order."""
    by_partition: dict[tuple[str, int], list[int]] = {}
    for place, message in enumerate(messages):
        by_partition.setdefault((message.topic, message.partition), []).append(place)
    for partition, places in by_partition.items():
        batch, first = producer.create_batch(), 0
        for number, place in enumerate(places):
            message = messages[place]
            if not _append(batch, message):
                yield partition, places[first:number], batch
                batch, first = producer.create_batch(), number
                _append(batch, message)  # to an empty batch even a record that is larger than one
        batch.close()
        yield partition, places[first:], batch


def _append(batch: BatchBuilder, message: Message) -> bool:
    headers = list(message.headers)
    return batch.append(timestamp=None, key=message.key, value=message.value, headers=headers) is not None


async def abandon(producer: AIOKafkaProducer) -> None:
    """Cut a producer off whose outcome is unknown: ``stop`` would wait for a flush that never comes."""
    producer._closed = True  # noqa: SLF001
    accumulator = producer._message_accumulator  # noqa: SLF001
    accumulator.fail_all(ProducerClosed())
    # Nobody waits for these any more; unread, asyncio would log each as an error.
    for batch in chain(*accumulator._batches.values(), accumulator._pending_batches):  # noqa: SLF001
        batch._drain_waiter.exception()  # noqa: SLF001
        batch.future.exception()
    ending = producer._txn_manager._transaction_waiter  # noqa: SLF001
    if ending is not None and ending.done():
        ending.exception()
    await end(producer._sender.close, producer.client.close)  # noqa: SLF001


class KafkaProducer:
    """An idempotent producer."""

    def __init__(self, producer: AIOKafkaProducer, address: str) -> None:
        self._producer = producer
        self._address = address
        self._dead = False
        self.closed = False
        self._limit_s = REQUEST_LIMIT_S

    async def send(self, messages: Sequence[Message]) -> list[Sent]:
        """Send all and wait for every acknowledgement; raises Unavailable or BusError."""
        self._check()
        self._dead = True
        async with within(self._limit_s, f"sending to Kafka at {self._address}"):
            sent = await _send_all(self._producer, messages)
        self._dead = False
        return sent

    def _check(self) -> None:
        if self._dead:
            raise Unavailable("the producer has failed before: close it, make a new one")

    async def close(self) -> None:
        """Release the connection; never hangs."""
        if self.closed:
            return
        self.closed = True
        if not self._dead:
            self._dead = True
            await end(self._producer.stop)
        await abandon(self._producer)


class KafkaTransactionalProducer(KafkaProducer):
    """The owner of a transactional id."""

    def __init__(self, producer: AIOKafkaProducer, address: str, timeout_ms: int) -> None:
        super().__init__(producer, address)
        # Below the broker's limit, so that the broker never aborts what we still believe in.
        self._limit_s = timeout_ms / 1000 * 2 / 3

    async def transact(
        self, messages: Sequence[Message], before_commit: Callable[[], None] | None = None
    ) -> list[Sent]:
        """Send all in one transaction and commit; raises Fenced, Unavailable or BusError."""
        self._check()
        if not messages:
            return []
        self._dead = True
        async with within(self._limit_s, f"a transaction on Kafka at {self._address}"):
            await self._producer.begin_transaction()
            sent = await _send_all(self._producer, messages)
            if before_commit is not None:
                before_commit()
            await self._producer.commit_transaction()
        self._dead = False
        return sent
