"""The proxy treats connections as badly as it is told, and counts it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest

from tests.faults.fleet import until
from tests.faults.proxy import Mode, Proxy

LIMIT_S = 10.0


@pytest.fixture
async def proxy() -> AsyncIterator[Proxy]:
    """Give a proxy in front of a server that sends back what it gets."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while chunk := await reader.read(1024):
                writer.write(chunk)
            writer.close()
            await writer.wait_closed()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    between = Proxy(server.sockets[0].getsockname()[1])
    await between.start()
    yield between
    await between.stop()
    server.close()


async def ask(proxy: Proxy, question: bytes) -> bytes:
    """Return what comes back on a new connection within a moment: nothing if it is reset."""
    async with asyncio.timeout(LIMIT_S):
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        writer.write(question)
        try:
            return await reader.read(len(question))
        except ConnectionError:
            return b""
        finally:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()


async def test_what_passes_comes_back(proxy: Proxy) -> None:
    assert await ask(proxy, b"hello") == b"hello"


async def test_a_refused_connection_is_refused_until_the_proxy_passes_again(proxy: Proxy) -> None:
    await proxy.set(Mode.REFUSE)
    with pytest.raises(ConnectionRefusedError):
        await ask(proxy, b"hello")
    await proxy.set(Mode.PASS)
    assert await ask(proxy, b"hello") == b"hello"


@pytest.mark.parametrize("mode", [Mode.BLACK_HOLE, Mode.DROP_RESPONSES])
async def test_a_connection_that_lost_something_is_reset_in_the_end(proxy: Proxy, mode: Mode) -> None:
    # Given a question whose answer is lost
    await proxy.set(mode)
    asking = asyncio.create_task(ask(proxy, b"hello"))
    assert await until(lambda: proxy.touched, LIMIT_S)
    # When the network is well again
    await proxy.set(Mode.PASS)
    # Then nobody waits for it
    assert await asking == b""
    assert proxy.touched == len(b"hello")


async def test_a_connection_is_cut_behind_some_bytes(proxy: Proxy) -> None:
    await proxy.set(Mode.CUT)
    assert await ask(proxy, b"hello") == b"hello"
    assert await ask(proxy, b"x" * 5_000) == b""
