"""A process on a real Kafka: what the memory promises holds there too."""

import asyncio
import os
import signal
import sys
import uuid
from collections.abc import AsyncIterator

import orjson
import pytest

from schemas.topics import Topics
from tests.runtime.toys import Adder
from tests.runtime.victim import adder
from workers.runtime.kafka import KafkaBus
from workers.runtime.port import Message, TopicDescription, TopicPartition
from workers.runtime.supervisor import Process
from workers.settings import Settings

LIMIT_S = 60.0


@pytest.fixture
async def bus(broker: str) -> AsyncIterator[KafkaBus]:
    connection = KafkaBus(Settings(bootstrap_servers=broker, session_timeout_ms=6_000))
    yield connection
    await connection.close()


def unique() -> str:
    """Return letters that nobody else has."""
    return "".join(chr(ord("a") + int(digit, 16)) for digit in uuid.uuid4().hex)


async def create(bus: KafkaBus, kind: type[Adder], declared: Topics) -> None:
    needed = declared.of_worker(kind.name, kind.inputs, kind.outputs)
    await bus.create(
        [TopicDescription(one.name, one.partitions, one.replication, one.configs) for one in needed]
    )


async def sums(bus: KafkaBus, topic: str, count: int) -> list[int]:
    """Return the first ``count`` sums of partition 0."""
    reader = await bus.reader({TopicPartition(topic, 0): -2})
    found: list[int] = []
    try:
        async with asyncio.timeout(LIMIT_S):
            while len(found) < count:
                found += [orjson.loads(record.value or b"")["sequence"] for record in await reader.poll(0.2)]
    finally:
        await reader.close()
    return found


async def start_victim(broker: str, letters: str, crash_at: str) -> asyncio.subprocess.Process:
    """Start a process that kills itself at a place of our choice."""
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.runtime.victim", broker, letters),
        env={**os.environ, "FLC_CRASH_AT": crash_at},
    )


async def test_a_sum_goes_on_over_processes_ticks_and_an_intruder(bus: KafkaBus) -> None:
    kind, declared = adder(unique())
    await create(bus, kind, declared)
    settings = Settings(session_timeout_ms=6_000)
    producer = await bus.producer()

    async def say(*texts: object) -> None:
        await producer.send([Message(kind.inputs[0], 0, b"toy", str(text).encode()) for text in texts])

    # Given a process that has added and told at a tick
    async with Process(bus, [kind], settings, topics=declared):
        await say(*[1] * 2_000, "tick 300")
        assert await sums(bus, kind.outputs[0], 2_001) == [*range(1, 2_001), 2_000]
    # When another one takes over, and is fenced in the middle
    async with Process(bus, [kind], settings, topics=declared) as second:
        await say(1)
        await sums(bus, kind.outputs[0], 2_002)
        await bus.transactional_producer(f"flc.{kind.name}.0", 6_000)
        await say(*[1] * 10)
        told = await sums(bus, kind.outputs[0], 2_012)
        assert second.live
    # Then nothing is missing and nothing is repeated
    assert told == [*range(1, 2_001), 2_000, *range(2_001, 2_012)]


async def test_a_process_killed_while_its_partitions_are_taken_away_loses_nothing_and_repeats_nothing(
    bus: KafkaBus, broker: str
) -> None:
    letters = unique()
    kind, declared = adder(letters)
    await create(bus, kind, declared)
    producer = await bus.producer()

    async def say(count: int) -> None:
        await producer.send([Message(kind.inputs[0], 0, b"toy", b"1")] * count)

    # Given a process that has worked, and dies in the callback of a revocation (the first comes with joining)
    await say(100)
    victim = await start_victim(broker, letters, f"{kind.name}:in_revoke:2")
    await sums(bus, kind.outputs[0], 100)
    # When another one joins, and records keep coming
    async with Process(bus, [kind], Settings(session_timeout_ms=6_000), topics=declared):
        await say(50)
        async with asyncio.timeout(LIMIT_S):
            assert await victim.wait() == -signal.SIGKILL
        await say(50)
        # Then every record was answered once
        assert await sums(bus, kind.outputs[0], 200) == list(range(1, 201))


@pytest.mark.parametrize("point", ["before_publish", "after_publish", "after_commit", "mid_restore"])
async def test_a_killed_process_loses_nothing_and_repeats_nothing(
    bus: KafkaBus, broker: str, point: str
) -> None:
    letters = unique()
    kind, declared = adder(letters)
    await create(bus, kind, declared)
    producer = await bus.producer()

    async def say(count: int) -> None:
        await producer.send([Message(kind.inputs[0], 0, b"toy", b"1")] * count)

    # Given a process with a history, that kills itself at a place of our choice
    await say(100)
    at = f"{kind.name}:{point}:{1 if point == 'mid_restore' else 4}"
    async with Process(bus, [kind], Settings(session_timeout_ms=6_000), topics=declared):
        await sums(bus, kind.outputs[0], 100)
    victim = await start_victim(broker, letters, at)
    dying = asyncio.create_task(victim.wait())
    said = 100
    async with asyncio.timeout(LIMIT_S):
        while not dying.done():
            await say(1)
            said += 1
            await asyncio.wait([dying], timeout=0.05)
    assert dying.result() == -signal.SIGKILL
    # When another process takes over
    async with Process(bus, [kind], Settings(session_timeout_ms=6_000), topics=declared):
        told = await sums(bus, kind.outputs[0], said)
    # Then every record was answered once
    assert told == list(range(1, said + 1))
