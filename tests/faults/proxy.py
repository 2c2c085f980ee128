"""A TCP proxy in front of the broker, for the connections of one process; it can treat them badly."""

import asyncio
from contextlib import suppress
from enum import StrEnum

_CHUNK = 65_536

#: Seconds that every chunk takes longer in the mode ``delay``.
DELAY_S = 0.15

#: In the mode ``cut`` a connection is reset behind so many further bytes.
CUT_AFTER = 2_000


class Mode(StrEnum):
    """What becomes of connections and of what is sent on them."""

    PASS = "pass"  # noqa: S105  (no password)
    #: New connections are refused, those that stand are reset.
    REFUSE = "refuse"
    #: Nothing arrives, in either direction, and nobody is told.
    BLACK_HOLE = "black hole"
    #: Requests arrive, answers do not.
    DROP_RESPONSES = "drop responses"
    DELAY = "delay"
    CUT = "cut"


class Proxy:
    """Passes what comes to ``port`` on to the broker, unless the mode says otherwise."""

    def __init__(self, upstream: int) -> None:
        self.port = 0
        #: Since the mode was set: bytes that were lost or held up, connections that were refused or reset.
        self.touched = 0
        self._upstream = upstream
        self._mode = Mode.PASS
        self._server: asyncio.Server | None = None
        self._links: set[_Link] = set()
        self._serving: set[asyncio.Task[None]] = set()

    @property
    def connected(self) -> bool:
        """Whether there are connections."""
        return bool(self._links)

    async def start(self) -> None:
        """Listen."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Reset everything."""
        if self._server is not None:
            self._server.close()
        for link in list(self._links):
            link.reset()
        await asyncio.gather(*self._serving, return_exceptions=True)

    async def set(self, mode: Mode) -> None:
        """Change the mode; a connection that has lost something does not survive the end of it."""
        before, self._mode = self._mode, mode
        if mode is not Mode.PASS:
            self.touched = 0
        for link in list(self._links):
            link.passed = 0
            if mode is Mode.REFUSE or link.lossy:
                self.touched += mode is Mode.REFUSE
                link.reset()
        if mode is Mode.REFUSE and self._server is not None:
            self._server.close()
        if before is Mode.REFUSE:
            await self.start()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving = asyncio.current_task()
        assert serving is not None
        self._serving.add(serving)
        serving.add_done_callback(self._serving.discard)
        with suppress(OSError):
            upstream_reader, upstream_writer = await asyncio.open_connection("127.0.0.1", self._upstream)
            link = _Link(writer, upstream_writer)
            self._links.add(link)
            try:
                await asyncio.gather(
                    self._pump(link, reader, upstream_writer, answers=False),
                    self._pump(link, upstream_reader, writer, answers=True),
                )
            finally:
                self._links.discard(link)
                link.reset()
            return
        writer.transport.abort()

    async def _pump(
        self, link: "_Link", reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, answers: bool
    ) -> None:
        with suppress(OSError):
            while chunk := await reader.read(_CHUNK):
                match self._mode:
                    case Mode.BLACK_HOLE:
                        lost = True
                    case Mode.DROP_RESPONSES:
                        lost = answers
                    case Mode.CUT if link.passed + len(chunk) > CUT_AFTER:
                        self.touched += len(chunk)
                        link.reset()
                        return
                    case Mode.DELAY:
                        self.touched += len(chunk)
                        await asyncio.sleep(DELAY_S)
                        lost = False
                    case _:
                        lost = False
                if lost:
                    self.touched += len(chunk)
                    link.lossy = True
                    continue
                link.passed += len(chunk)
                writer.write(chunk)
                await writer.drain()
        link.reset()


class _Link:
    """A connection through the proxy."""

    def __init__(self, client: asyncio.StreamWriter, broker: asyncio.StreamWriter) -> None:
        self.passed = 0
        self.lossy = False
        self._ends = (client, broker)

    def reset(self) -> None:
        for end in self._ends:
            end.transport.abort()
