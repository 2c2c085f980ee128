"""Many instances played by one process: they register, report, answer announcements and acknowledge.

What they say is signed beforehand, as many machines would do it at the same time.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from math import inf

from benchmarks.end_to_end import publish
from benchmarks.load import HEARTBEAT_PERIOD_S, Federation, Population
from benchmarks.system import PATIENCE_S, System
from convergence.subscription import Subscription, subscribe
from convergence.topics import POLL_S, partition_counts
from schemas.commands import SynchronizationRequested
from schemas.convergence import (
    ConvergenceUpdated,
    KnowledgeAnnounced,
    RoundAbandoned,
    SynchronizationAnnounced,
    SynchronizationCompleted,
)
from schemas.instances import Heartbeat, InstanceRegistered
from schemas.knowledge import KnowledgeAcknowledged
from schemas.reports import PatternReport
from workers.runtime.port import Producer

#: What instances write to.
TOPICS = (
    InstanceRegistered.topic,
    Heartbeat.topic,
    PatternReport.topic,
    SynchronizationRequested.topic,
    KnowledgeAcknowledged.topic,
)


class Fleet:
    """The instances of a federation, all of them alive."""

    def __init__(self, federation: Federation, producer: Producer, events: Subscription) -> None:
        self.federation = federation
        self.producer = producer
        self._events = events
        self._synchronizations = 0
        self._beat_at = -inf

    async def report(self) -> None:
        """Report everything, and wait until every report is covered."""
        waiting = {f"i{number}" for number in range(self.federation.population.instances)}
        await publish(self.producer, self.federation.reports())
        async with asyncio.timeout(PATIENCE_S):
            while waiting:
                event = await self._events.next(POLL_S)
                if isinstance(event, ConvergenceUpdated):
                    waiting -= {cover.instance_id for cover in event.covers}

    async def synchronize(self) -> tuple[SynchronizationCompleted, float]:
        """Ask for a synchronization and take part in it; return its result and the seconds until then.

        Raises RuntimeError if it ends without a result.
        """
        await self._beat()
        self._synchronizations += 1
        request = f"request-{self._synchronizations}"
        round_id = f"{self.federation.name}/synchronization/{self._synchronizations}"
        reports, acknowledgements = self.federation.reports(), self.federation.acknowledgements(round_id)
        command = self.federation.command(request)
        started = time.perf_counter()
        await publish(self.producer, [command])
        async with asyncio.timeout(PATIENCE_S):
            while True:
                event = await self._events.next(POLL_S)
                if isinstance(event, SynchronizationAnnounced):
                    await publish(self.producer, reports)
                elif isinstance(event, KnowledgeAnnounced):
                    await publish(self.producer, acknowledgements)
                elif isinstance(event, SynchronizationCompleted) and request in event.commands:
                    return event, time.perf_counter() - started
                elif isinstance(event, RoundAbandoned):
                    raise RuntimeError(f"{event.round_id} was abandoned: {event.reason}")

    async def _beat(self) -> None:
        """Show that everybody lives, if it is time to: who is missed loses weight, one after the other."""
        now = time.monotonic()
        if now - self._beat_at >= HEARTBEAT_PERIOD_S / 2:
            self._beat_at = now
            await publish(self.producer, self.federation.heartbeats())


@asynccontextmanager
async def fleet(on: System, population: Population, name: str) -> AsyncIterator[Fleet]:
    """Yield a fleet that has reported, in a federation of its own."""
    async with AsyncExitStack() as stack:
        producer = await on.bus.producer()
        stack.push_async_callback(producer.close)
        events = await stack.enter_async_context(subscribe(on.bus, name))
        there = Fleet(Federation(name, population, await partition_counts(on.bus, TOPICS)), producer, events)
        await publish(producer, there.federation.registrations())
        await there.report()
        yield there
