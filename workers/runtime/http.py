"""One HTTP port a process: is it alive, is it ready, what does it count, what does it do."""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Protocol

import uvicorn
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from workers.runtime.metrics import Metrics


class Observed(Protocol):
    """What is asked of a process."""

    metrics: Metrics

    @property
    def live(self) -> bool:
        """Whether every loop made progress lately."""

    @property
    def ready(self) -> bool:
        """Whether it does its work."""

    def info(self) -> dict[str, Any]:
        """Return what it does."""


def application(process: Observed, routes: Sequence[BaseRoute] = ()) -> Starlette:
    """Return the routes of a process: /livez, /readyz, /metrics, /info, and others that are given."""

    def livez(_: Request) -> Response:
        return _verdict(process.live)

    def readyz(_: Request) -> Response:
        return _verdict(process.ready)

    def metrics(_: Request) -> Response:
        return Response(process.metrics.exposition(), media_type=CONTENT_TYPE_LATEST)

    def info(_: Request) -> Response:
        return JSONResponse(process.info())

    # Coroutines: Starlette runs plain functions in threads, beside the loop that owns what they read.
    return Starlette(
        routes=[
            Route("/livez", _on_loop(livez)),
            Route("/readyz", _on_loop(readyz)),
            Route("/metrics", _on_loop(metrics)),
            Route("/info", _on_loop(info)),
            *routes,
        ]
    )


def _verdict(good: bool) -> Response:
    return Response("ok\n" if good else "no\n", status_code=200 if good else 503, media_type="text/plain")


def _on_loop(endpoint: Any) -> Any:
    async def respond(request: Request) -> Response:
        response: Response = endpoint(request)
        return response

    return respond


class _Server(uvicorn.Server):
    """A server that leaves the signals to the process: the workers drain first."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield


@asynccontextmanager
async def serving(app: Starlette, host: str, port: int) -> AsyncIterator[int]:
    """Serve while the block runs; yields the port (0 asks for a free one). Raises OSError if it is taken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.create_server((host, port), family=family)
    # Open streams are cut after this many seconds, or an idle browser would hold up the end.
    config = uvicorn.Config(
        app, log_config=None, lifespan="off", access_log=False, timeout_graceful_shutdown=2
    )
    server = _Server(config)
    running = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        yield listener.getsockname()[1]
    finally:
        server.should_exit = True
        await running
        listener.close()
