"""A subscriber: waits until the federation has converged, and says meanwhile what is missing.

    KAFKA_BOOTSTRAP_SERVERS=… uv run python examples/subscriber.py

Anybody who may read flc.convergence.v1 can do this; no key is needed.
"""

import asyncio

from convergence import subscribe
from schemas.convergence import RoundResult, SynchronizationCompleted
from workers.runtime.kafka import KafkaBus
from workers.runtime.port import Bus
from workers.settings import Settings


async def converged(bus: Bus, federation: str) -> SynchronizationCompleted:
    """Return the first synchronization from now on that has converged."""
    async with subscribe(bus, federation) as events:
        async for event in events:
            if not isinstance(event, RoundResult):
                continue
            if isinstance(event, SynchronizationCompleted) and event.convergence_achieved:
                return event
            missing = [
                f"{each.name} {each.value} against {each.threshold}"
                for each in event.criteria
                if not each.met
            ]
            print(f"{event.round_id}: {', '.join(missing) or 'all criteria are met'}")
    raise AssertionError("a subscription does not end")


async def main() -> None:
    """Wait on the configured broker."""
    settings = Settings()
    bus = KafkaBus(settings)
    try:
        done = await converged(bus, settings.federation)
        print(f"{done.round_id} converged: {done.convergence_score}, {done.patterns_aggregated} patterns")
    finally:
        await bus.close()


if __name__ == "__main__":
    asyncio.run(main())
