"""The embedded broker: it survives what it should, and dies when it must."""

import asyncio
import contextlib
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from flc.broker import BrokerFailed, EmbeddedBroker, start_detached, stop_detached
from tests.runtime.contract import DEADLINE_S, message, new_topic, values
from workers.runtime.kafka import KafkaBus
from workers.runtime.port import Unavailable
from workers.settings import Settings

_PARENT = """
import asyncio, pathlib, sys
from flc.broker import EmbeddedBroker

async def main():
    print(await EmbeddedBroker().start(pathlib.Path(sys.argv[1])), flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


async def connect(address: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    host, _, port = address.partition(":")
    return await asyncio.open_connection(host, int(port))


async def ended(reader: asyncio.StreamReader) -> None:
    """Wait until the other end of the connection is gone."""
    async with asyncio.timeout(DEADLINE_S):
        with contextlib.suppress(ConnectionResetError):
            assert await reader.read() == b""


async def test_what_was_committed_survives_a_kill(tmp_path: Path) -> None:
    broker = EmbeddedBroker()
    address = await broker.start(tmp_path)
    try:
        bus = KafkaBus(Settings(bootstrap_servers=address))
        topic = await new_topic(bus)
        producer = await bus.transactional_producer("survivor", 6_000)
        await producer.transact([message(topic, b"safe")])

        broker.kill()

        # A producer whose broker is gone gives up below the transaction's time-out, and closes at once.
        started = time.monotonic()
        with pytest.raises(Unavailable):
            await producer.transact([message(topic, b"lost")])
        assert time.monotonic() - started < 6
        closing = time.monotonic()
        await bus.close()
        assert time.monotonic() - closing < 10

        assert await broker.restart() == address
        bus = KafkaBus(Settings(bootstrap_servers=address))
        assert await values(bus, topic) == [b"safe"]
        await bus.close()
    finally:
        broker.stop()


async def test_a_broker_dies_with_its_parent(tmp_path: Path) -> None:
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _PARENT, str(tmp_path), stdout=subprocess.PIPE
    )
    assert parent.stdout is not None
    async with asyncio.timeout(2 * DEADLINE_S):
        address = (await parent.stdout.readline()).decode().strip()
    reader, writer = await connect(address)

    parent.send_signal(signal.SIGKILL)
    await parent.wait()

    await ended(reader)
    writer.close()


def test_a_detached_broker_runs_until_it_is_stopped(tmp_path: Path) -> None:
    address = start_detached(tmp_path, 0)

    assert start_detached(tmp_path, 0) == address
    assert (tmp_path / "broker.pid").exists()

    assert stop_detached(tmp_path)
    assert not stop_detached(tmp_path)
    with pytest.raises(ConnectionRefusedError):
        asyncio.run(connect(address))


async def test_a_broker_that_cannot_start_says_why(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()

        with pytest.raises(BrokerFailed, match="Address already in use"):
            await EmbeddedBroker().start(tmp_path, taken.getsockname()[1])
