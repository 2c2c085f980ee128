"""From a publish to the update that covers it, while other instances keep the system busy."""

import asyncio
import statistics
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack

from benchmarks.end_to_end import Product, pass_through, publish
from benchmarks.figure import Figure
from benchmarks.load import Federation, Population
from benchmarks.measurement import Spread
from benchmarks.sizes import Sizes
from benchmarks.system import PATIENCE_S, System, system
from convergence.subscription import Subscription, subscribe
from convergence.topics import POLL_S, partition_counts
from schemas.convergence import ConvergenceUpdated
from schemas.instances import InstanceRegistered
from schemas.reports import PatternReport
from workers.catalogue import WORKERS
from workers.runtime.port import Message, Producer

#: Shares of the rate at which the system is saturated.
LOADS = (0.1, 0.5, 0.8)

#: Seconds between two batches of the others, and from one timed publish to the next at least.
BATCH_S = 0.1
REST_S = 0.5

#: The federation whose publishes are timed has one instance: no other moves the interval of its updates.
LONE = "lone"


async def figures(sizes: Sizes) -> list[Figure]:
    """Measure."""
    async with system(sizes.partitions) as on, AsyncExitStack() as stack:
        workers = {name: await on.start(name) for name in WORKERS}
        for one in workers.values():
            await one.ready()
        producer = await on.bus.producer()
        stack.push_async_callback(producer.close)
        counts = await partition_counts(on.bus, (InstanceRegistered.topic, PatternReport.topic))
        others = Federation("busy", Population(sizes.instances, sizes.patterns, sizes.pool), counts)
        lone = Federation(LONE, Population(1, sizes.patterns, sizes.pool), counts)
        await publish(producer, [*others.registrations(), *lone.registrations()])
        events = await stack.enter_async_context(subscribe(on.bus, LONE))
        product = Product(workers["privacy"], [workers["aggregation"]], sizes.patterns)
        limit = await _limit(on, producer, product, others, sizes)
        took = {0.0: await _timed(producer, lone, events, sizes.samples)}
        for load in LOADS:
            rate = load * limit
            took[load] = await _under(on, producer, others, lone, events, rate=rate, samples=sizes.samples)
    p50 = {load: statistics.median(of) for load, of in took.items()}
    p99 = {load: sorted(of)[int(len(of) * 0.99)] for load, of in took.items()}
    return [
        Figure(
            "latency",
            "publish to covering update, p50 at 80 % of the limit / p50 of an idle system",
            None,
            "at most",
            Spread.of([seconds / p50[0.0] for seconds in took[LOADS[-1]]]),
            {
                "limit_signatures_a_second": limit * sizes.patterns,
                "p50_ms": {f"{load:.0%}": seconds * 1e3 for load, seconds in p50.items()},
                "p99_ms": {f"{load:.0%}": seconds * 1e3 for load, seconds in p99.items()},
            },
        )
    ]


async def _limit(on: System, producer: Producer, product: Product, others: Federation, sizes: Sizes) -> float:
    """Return how many reports a second all workers together let through."""
    rates = []
    for _ in range(sizes.warm_up + sizes.repetitions):
        reports = others.reports(sizes.growth_reports)
        cost = await pass_through(on, producer, product, reports)
        rates.append(len(reports) / cost.seconds)
    return statistics.median(rates[sizes.warm_up :])


async def _under(
    on: System,
    producer: Producer,
    others: Federation,
    lone: Federation,
    events: Subscription,
    *,
    rate: float,
    samples: int,
) -> list[float]:
    """Time publishes while the others send so many reports a second, which are signed beforehand."""
    batch = max(1, round(rate * BATCH_S))
    reports = others.reports(batch * int(samples * 4 * REST_S / BATCH_S))
    # A producer that is interrupted while it sends is good for nothing afterwards: the others have their own.
    theirs = await on.bus.producer()
    busy = asyncio.create_task(_send(theirs, reports, batch))
    try:
        return await _timed(producer, lone, events, samples)
    finally:
        busy.cancel()
        await asyncio.gather(busy, return_exceptions=True)
        await theirs.close()


async def _send(producer: Producer, reports: Sequence[Message], batch: int) -> None:
    loop = asyncio.get_running_loop()
    began = loop.time()
    for number, start in enumerate(range(0, len(reports), batch)):
        await asyncio.sleep(began + number * BATCH_S - loop.time())
        await producer.send(reports[start : start + batch])


async def _timed(producer: Producer, lone: Federation, events: Subscription, samples: int) -> list[float]:
    took = []
    for _ in range(samples):
        await asyncio.sleep(REST_S)
        reports = lone.reports()
        started = time.perf_counter()
        await producer.send(reports)
        async with asyncio.timeout(PATIENCE_S):
            while not isinstance(await events.next(POLL_S), ConvergenceUpdated):
                pass
        took.append(time.perf_counter() - started)
    return took
