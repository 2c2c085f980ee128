"""The bus while it is open: who is on it, and what is heard there. One task keeps it, and closes all."""

import asyncio
import logging
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack, aclosing
from typing import Any

from convergence.connection import connect
from convergence.deployment import Deployment
from convergence.errors import SessionClosed
from convergence.federated_learning import organisation, text
from convergence.rounds import results_since
from convergence.sequence import now_ms
from convergence.subscription import follow, subscribe
from convergence.types import InstanceMetadata
from schemas.convergence import RoundEvent
from schemas.knowledge import AggregatedPattern
from workers.runtime.port import Bus
from workers.settings import Settings

_log = logging.getLogger(__name__)

#: ``observe(event, live)``; not live: it was published before the session began.
Observe = Callable[[RoundEvent, bool], None]


class Session:
    """An open bus, with a deployment for every instance that was used."""

    def __init__(self, bus: Bus, settings: Settings) -> None:
        self._bus = bus
        self._settings = settings
        self._deployments: dict[str, tuple[tuple[Any, ...], Deployment]] = {}
        self._opening = asyncio.Lock()
        self._closed = False

    async def deployment(self, instance: InstanceMetadata) -> Deployment:
        """Return the deployment of an instance; it is opened by its first use, and anew if it has changed."""
        described = (
            instance.instance_name,
            instance.deployment_region,
            organisation(instance),
            text(instance.metadata),
        )
        async with self._opening:
            if self._closed:
                raise SessionClosed
            known = self._deployments.get(instance.instance_id)
            if known is not None and known[0] == described:
                return known[1]
            if known is not None:
                del self._deployments[instance.instance_id]
                await known[1].__aexit__(None, None, None)
            name, region, owner, metadata = described
            deployment = Deployment(
                self._bus,
                self._settings,
                instance.instance_id,
                owner,
                instance_name=name,
                deployment_region=region,
                metadata=metadata,
            )
            await deployment.__aenter__()
            self._deployments[instance.instance_id] = described, deployment
            return deployment

    @property
    def knowledge(self) -> Mapping[str, AggregatedPattern]:
        """What the federation has released, as this process's first instance has read it."""
        return next((deployment.knowledge for _, deployment in self._deployments.values()), {})

    async def close(self) -> None:
        """Close all deployments."""
        async with self._opening:
            self._closed = True
            opened = [deployment for _, deployment in self._deployments.values()]
            self._deployments.clear()
        ends = await asyncio.gather(
            *(deployment.__aexit__(None, None, None) for deployment in opened), return_exceptions=True
        )
        for deployment, end in zip(opened, ends, strict=True):
            if isinstance(end, Exception):
                _log.warning("deployment.failed %s: %s", deployment.instance_id, end)


async def keep(
    settings: Settings, since_ms: int, observe: Observe, opened: "asyncio.Future[Session]"
) -> None:
    """Open the bus, hand out the session, hear what is published; cancelled, close everything.

    If it cannot be opened, ``opened`` gets the error. What was published since ``since_ms`` (Unix ms) is
    observed first.
    """
    try:
        async with AsyncExitStack() as stack:
            bus, local = await stack.enter_async_context(connect(settings))
            session = Session(bus, local)
            stack.push_async_callback(session.close)
            # Before the past is read, so that nothing falls in between; what comes twice is known by number.
            events = await stack.enter_async_context(subscribe(bus, local.federation))
            for result in await results_since(bus, local.federation, since_ms):
                observe(result, False)  # noqa: FBT003
            opened.set_result(session)
            heard = await stack.enter_async_context(aclosing(follow(events)))
            async for event in heard:
                observe(event, True)  # noqa: FBT003
    except Exception as error:  # noqa: BLE001  (it belongs to who waits for the session)
        if opened.done():
            _log.exception("session.failed")  # the next use opens another one
        else:
            _fail(opened, error)
    finally:
        if not opened.done():
            _fail(opened, SessionClosed())


def _fail(opened: "asyncio.Future[Session]", error: Exception) -> None:
    opened.set_exception(error)
    opened.exception()  # looked at, in case that nobody waits for it any more


class Keeper:
    """At most one session at a time, opened by its first use; a use from another loop opens it anew.

    ``begin`` is called before anything of a new session is observed.
    """

    def __init__(
        self, settings: Settings, look_back_s: float, begin: Callable[[], None], observe: Observe
    ) -> None:
        self._settings = settings
        self._begin = begin
        self._look_back_ms = int(look_back_s * 1000)
        self._observe = observe
        self._task: asyncio.Task[None] | None = None
        self._opened: asyncio.Future[Session] | None = None

    async def session(self) -> Session:
        """Return the open session; raises whatever keeps the bus from being opened."""
        loop, task = asyncio.get_running_loop(), self._task
        if self._opened is None or task is None or task.done() or task.get_loop() is not loop:
            self._begin()
            self._opened = loop.create_future()
            since_ms = max(0, now_ms() - self._look_back_ms)
            self._task = loop.create_task(keep(self._settings, since_ms, self._observe, self._opened))
        return await asyncio.shield(self._opened)

    @property
    def current(self) -> Session | None:
        """The session, if it is open."""
        opened = self._opened
        if opened is None or not opened.done() or opened.cancelled() or opened.exception() is not None:
            return None
        return opened.result()

    async def close(self) -> None:
        """Close the session and everything in it; it may be opened again."""
        task, self._task = self._task, None
        if task is not None and task.get_loop() is asyncio.get_running_loop():
            task.cancel()
            await asyncio.wait({task})
