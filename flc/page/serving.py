"""The page as a server: where it listens, and what it takes to listen elsewhere than on this machine."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from convergence.observer import Observer
from flc.connection import PortTaken
from flc.page.access import loopback
from flc.page.application import application
from workers.runtime import http
from workers.runtime.failures import Misconfigured
from workers.runtime.port import Bus
from workers.settings import Settings


@asynccontextmanager
async def page(bus: Bus, settings: Settings) -> AsyncIterator[tuple[Observer, str]]:
    """Serve the page of a federation while the block runs; yields its observer and the address to open.

    Raises Misconfigured where a token is needed and none is set, and PortTaken.
    """
    host, _, port = settings.page_address.rpartition(":")
    token = settings.page_token.get_secret_value() if settings.page_token else None
    if token is None and not loopback(host):
        raise Misconfigured(
            f"at {settings.page_address} others can see the page: set FLC_PAGE_TOKEN, or listen on 127.0.0.1"
        )
    observer = Observer(bus, settings.federation)
    async with AsyncExitStack() as stack:
        try:
            bound = await stack.enter_async_context(
                http.serving(application(observer, token), host.strip("[]"), int(port))
            )
        except OSError as error:
            raise PortTaken(host, int(port), "FLC_PAGE_ADDRESS") from error
        # Entered last, so that it ends first: with it end the streams, and nothing holds the server up.
        await stack.enter_async_context(observer)
        yield observer, f"http://{host}:{bound}/"
