"""A federation that runs: all workers on a bus in memory, and deployments that learn together."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

from convergence.deployment import Deployment
from convergence.patterns import Pattern
from schemas.convergence import SynchronizationCompleted
from schemas.topics import load
from workers.catalogue import WORKERS
from workers.runtime import topology
from workers.runtime.memory import MemoryBus, MemoryReader
from workers.runtime.port import Bus, TopicPartition, Unavailable
from workers.runtime.supervisor import Process
from workers.settings import Settings

NAMES = ("berlin", "paris", "rome")
PATTERNS = tuple(
    Pattern(f"p{number}", "behavioral", 0.9, 0.9, 0.95, 3, (f"module{number}",)) for number in range(5)
)


class FlakyBus(MemoryBus):
    """A bus whose readers fail when it is away."""

    away = False

    async def reader(self, positions: Mapping[TopicPartition, int]) -> MemoryReader:
        if self.away:
            raise Unavailable("away")
        return await super().reader(positions)


async def new_bus() -> FlakyBus:
    """Return a bus with all topics, on which nobody works."""
    bus, topics = FlakyBus(), load()
    changelogs = [topics.changelog(worker.name, worker.inputs) for worker in WORKERS.values()]
    await topology.apply(bus, topology.plan([*topics.declared.values(), *changelogs], {}))
    return bus


@asynccontextmanager
async def working(settings: Settings) -> AsyncIterator[FlakyBus]:
    """Yield a bus on which all workers run."""
    bus = await new_bus()
    async with Process(bus, tuple(WORKERS.values()), settings):
        yield bus


async def synchronized(
    bus: Bus, settings: Settings, more: Mapping[str, Sequence[Pattern]] | None = None
) -> SynchronizationCompleted:
    """Let three deployments learn (``more``: what one of them holds beside), and return the result."""
    async with AsyncExitStack() as stack:
        deployments = [
            await stack.enter_async_context(Deployment(bus, settings, name, f"{name}-corp")) for name in NAMES
        ]
        await asyncio.gather(
            *(one.publish([*PATTERNS, *(more or {}).get(one.instance_id, ())]) for one in deployments)
        )
        event = await deployments[0].request_synchronization()
        assert isinstance(event, SynchronizationCompleted)
        return event
