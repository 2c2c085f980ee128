"""A client of the page: one request, or a stream event by event."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit


@dataclass(frozen=True)
class Answer:
    """What a server answered."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


@dataclass(frozen=True)
class Happened:
    """One event of a stream."""

    event: str
    data: Any
    id: int | None


async def ask(url: str, path: str, method: str = "GET", **headers: str) -> Answer:
    """Make one request; ``_`` in a header's name stands for a dash."""
    reader, writer = await _request(url, path, method, {"Connection": "close", **_dashed(headers)})
    try:
        status, found = await _head(reader)
        if found.get("transfer-encoding") == "chunked":
            return Answer(status, found, b"".join([chunk async for chunk in _chunks(reader)]))
        return Answer(status, found, await reader.read())
    finally:
        writer.close()
        await writer.wait_closed()


@asynccontextmanager
async def listening(url: str, path: str, **headers: str) -> AsyncIterator[AsyncIterator[Happened]]:
    """Yield the events of a stream, as they come."""
    reader, writer = await _request(url, path, "GET", _dashed(headers))
    try:
        status, found = await _head(reader)
        assert (status, found["content-type"]) == (200, "text/event-stream; charset=utf-8")
        yield _events(reader)
    finally:
        writer.close()


def _dashed(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.replace("_", "-"): value for name, value in headers.items()}


async def _request(
    url: str, path: str, method: str, headers: Mapping[str, str]
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port, limit=2**22)
    lines = {"Host": parts.netloc, **headers}
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    writer.write(f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode())
    return reader, writer


async def _head(reader: asyncio.StreamReader) -> tuple[int, dict[str, str]]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    first, *lines = head.strip().split("\r\n")
    return int(first.split()[1]), {
        name.lower(): value for name, value in (line.split(": ", 1) for line in lines)
    }


async def _chunks(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    while size := int(await reader.readline() or b"0", 16):
        yield await reader.readexactly(size)
        await reader.readline()


async def _events(reader: asyncio.StreamReader) -> AsyncIterator[Happened]:
    pending = b""
    async for chunk in _chunks(reader):
        pending += chunk
        *whole, pending = pending.split(b"\n\n")
        for block in whole:
            fields = dict(line.split(": ", 1) for line in block.decode().split("\n"))
            event_id = int(fields["id"]) if "id" in fields else None
            yield Happened(fields["event"], json.loads(fields["data"]), event_id)
