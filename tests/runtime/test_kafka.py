"""What only a real Kafka can do to us: be away, hold a transaction open, carry a bomb."""

import asyncio
import gc
import socket
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka import TopicPartition as KafkaPartition

from tests.runtime.contract import DEADLINE_S, Member, message, new_topic, read, receive, unique, until
from workers.runtime.kafka import KafkaBus
from workers.runtime.kafka.connection import arguments, end
from workers.runtime.kafka.decompression import MAX_BATCH_BYTES
from workers.runtime.kafka.producer import abandon
from workers.runtime.port import BusError, Corrupt, TopicPartition, Unavailable
from workers.settings import Settings


@pytest.fixture
async def bus(broker: str) -> AsyncIterator[KafkaBus]:
    connection = KafkaBus(Settings(bootstrap_servers=broker, session_timeout_ms=6_000))
    yield connection
    await connection.close()


async def send_bomb(broker: str, topic: str) -> None:
    """Send a few kB that decode to more than a batch may have."""
    size = MAX_BATCH_BYTES + 1
    producer = AIOKafkaProducer(
        bootstrap_servers=broker, compression_type="zstd", max_request_size=2 * size, max_batch_size=2 * size
    )
    await producer.start()
    await producer.send_and_wait(topic, value=bytes(size), partition=0)
    await producer.stop()


async def test_an_unreachable_broker_is_named_within_ten_seconds() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))  # bound and not listening: refused
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        bus = KafkaBus(Settings(bootstrap_servers=address))
        started = time.monotonic()

        with pytest.raises(Unavailable, match=address):
            await bus.producer()
        with pytest.raises(Unavailable, match=address):
            await bus.end_offsets([TopicPartition("topic", 0)])
        with pytest.raises(Unavailable, match=address):
            await bus.describe(["topic"])

        await bus.close()
        assert time.monotonic() - started < 10


async def test_a_broker_that_accepts_and_says_nothing_is_named_within_ten_seconds() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        bus = KafkaBus(Settings(bootstrap_servers=address))
        started = time.monotonic()

        with pytest.raises(Unavailable, match=address):
            await bus.transactional_producer("id", 10_000)

        await bus.close()
        assert time.monotonic() - started < 10


async def test_a_client_that_trips_over_what_it_was_sending_is_closed_all_the_same() -> None:
    # Given a sender that dies of a batch that is gone, as aiokafka's does when it was to send it again
    closed = []

    async def sender() -> None:
        raise KeyError("a batch")

    async def client() -> None:
        closed.append("client")

    # When it is closed, then nobody hears of it, and what comes after it is closed too
    await end(sender, client)
    assert closed == ["client"]


async def test_a_batch_that_nobody_waits_for_any_more_is_no_error_in_the_log() -> None:
    heard: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: heard.append(context))
    # Given a batch on its way, and a time-out that ended the waiting for it
    producer = AIOKafkaProducer(bootstrap_servers="127.0.0.1:1", enable_idempotence=True)
    accumulator = producer._message_accumulator
    answer = await accumulator.add_batch(producer.create_batch(), KafkaPartition("topic", 0), 1)
    answer.cancel()
    await asyncio.sleep(0)

    await abandon(producer)

    del producer, accumulator, answer
    gc.collect()
    assert heard == []


def test_without_an_address_there_is_no_bus() -> None:
    with pytest.raises(BusError, match="KAFKA_BOOTSTRAP_SERVERS"):
        KafkaBus(Settings(bootstrap_servers=None, _env_file=None))


def test_sasl_and_its_password_reach_every_client() -> None:
    settings = Settings.model_validate(
        {
            "bootstrap_servers": "one:1,two:2",
            "security_protocol": "SASL_SSL",
            "sasl_mechanism": "SCRAM-SHA-512",
            "sasl_username": "flc",
            "sasl_password": "secret",
        }
    )

    connect = arguments(settings)

    assert connect["bootstrap_servers"] == ["one:1", "two:2"]
    assert connect["ssl_context"].check_hostname
    assert (connect["sasl_mechanism"], connect["sasl_plain_password"]) == ("SCRAM-SHA-512", "secret")


def test_sasl_without_a_password_is_refused() -> None:
    settings = Settings.model_validate(
        {
            "bootstrap_servers": "one:1",
            "security_protocol": "SASL_PLAINTEXT",
            "sasl_mechanism": "PLAIN",
            "sasl_username": "flc",
        }
    )

    with pytest.raises(BusError, match="KAFKA_SASL_PASSWORD"):
        arguments(settings)


async def test_an_open_transaction_holds_the_committed_end_back(bus: KafkaBus) -> None:
    topic = await new_topic(bus, partitions=1)
    where = TopicPartition(topic, 0)
    failing = await bus.transactional_producer(unique("id"), 10_000)

    with pytest.raises(BusError):
        await failing.transact([message(topic, b"half"), message(topic, b"no such partition", 7)])

    assert await bus.end_offsets([where], committed=False) == {where: 1}
    assert await bus.end_offsets([where]) == {where: 0}


async def test_a_failure_before_the_commit_leaves_nothing_visible(bus: KafkaBus) -> None:
    topic = await new_topic(bus, partitions=1)
    where = TopicPartition(topic, 0)
    producer = await bus.transactional_producer(unique("id"), 10_000)

    def crash() -> None:
        raise KeyError("crash")

    with pytest.raises(KeyError):
        await producer.transact([message(topic, b"half")], before_commit=crash)

    assert await bus.end_offsets([where]) == {where: 0}


async def test_a_bomb_is_named_and_can_be_passed(bus: KafkaBus, broker: str) -> None:
    topic = await new_topic(bus, partitions=1)
    where = TopicPartition(topic, 0)
    await send_bomb(broker, topic)
    await (await bus.producer()).send([message(topic, b"behind")])
    reader = await bus.reader({where: 0})

    with pytest.raises(Corrupt) as failure:
        await read(reader, 1)

    assert (failure.value.partition, failure.value.offset, failure.value.next_offset) == (where, 0, 1)
    reader.seek(where, failure.value.next_offset)
    assert [record.value for record in await read(reader, 1)] == [b"behind"]


async def test_nothing_that_stands_before_a_bomb_is_lost(bus: KafkaBus, broker: str) -> None:
    topic = await new_topic(bus, partitions=1)
    where = TopicPartition(topic, 0)
    producer = await bus.transactional_producer(unique("id"), 10_000)
    await producer.transact([message(topic, b"%d" % number) for number in range(3)])
    await send_bomb(broker, topic)  # at 4, behind the commit's marker
    reader = await bus.reader({where: 0})

    records = await read(reader, 3)

    assert [record.value for record in records] == [b"0", b"1", b"2"]
    with pytest.raises(Corrupt) as failure:
        await read(reader, 1)
    assert failure.value.next_offset == 5


async def test_a_bomb_in_one_partition_does_not_stop_the_others(bus: KafkaBus, broker: str) -> None:
    topic = await new_topic(bus)
    bombed, sound = TopicPartition(topic, 0), TopicPartition(topic, 1)
    await send_bomb(broker, topic)
    await (await bus.producer()).send([message(topic, b"sound", 1)])
    member = await Member(bus).join(unique("group"), topic)
    await until(lambda: bool(member.owned()), member)
    member.start({bombed: 0, sound: 0})

    passed: list[TopicPartition] = []
    received: list[bytes | None] = []
    async with asyncio.timeout(DEADLINE_S):
        while not received:
            try:
                polled = await member.consumer.poll(0.2)
            except Corrupt as corrupt:
                passed.append(corrupt.partition)
                member.consumer.seek(corrupt.partition, corrupt.next_offset)
            else:
                received += [record.value for record in polled.get(sound, [])]

    assert received == [b"sound"]
    assert set(passed) <= {bombed}


async def test_a_static_member_that_returns_gets_its_partitions_at_once(broker: str) -> None:
    settings = Settings(bootstrap_servers=broker, session_timeout_ms=6_000, group_instance_id="slot-0")
    bus = KafkaBus(settings)
    topic = await new_topic(bus, partitions=1)
    where = TopicPartition(topic, 0)
    group = unique("group")
    before = await Member(bus).join(group, topic)
    await until(lambda: bool(before.owned()), before)
    await before.consumer.close()

    after = await Member(bus).join(group, topic)
    await until(lambda: bool(after.owned()), after)

    await (await bus.producer()).send([message(topic, b"here")])
    after.start({where: 0})
    assert [record.value for record in await receive(after, where, 1)] == [b"here"]
    await bus.close()
