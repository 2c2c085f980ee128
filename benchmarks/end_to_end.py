"""P1: from publish to aggregation state, against the bare relay of the same bytes.

The relays and the product run side by side in turn: two processes each, all of them idle but for those that
are measured. A pass begins with the first report published and ends when the last hop has settled everything.
"""

import asyncio
import os
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Protocol

from benchmarks.figure import Figure
from benchmarks.load import Federation, Population, contents
from benchmarks.measurement import Cost, Spread, cpu_seconds, paused, peak_mb, ratios
from benchmarks.sizes import Sizes
from benchmarks.system import System, Workers, system, until
from convergence.topics import partition_counts
from schemas.instances import InstanceRegistered
from schemas.reports import Contribution, PatternReport
from workers.runtime.port import Message, Producer, TopicDescription

#: Reports that are sent together.
BATCH = 500


@dataclass(frozen=True, slots=True)
class Hop:
    """A process of a relay."""

    process: asyncio.subprocess.Process

    async def settled(self) -> int:
        """Return how many records it has settled."""
        asked, answered = self.process.stdin, self.process.stdout
        if asked is None or answered is None:
            raise ValueError("the process has no pipes")
        asked.write(b"\n")
        answer = await answered.readline()
        if not answer:
            raise ChildProcessError(f"a relay ended with {await self.process.wait()}")
        return int(answer)

    async def stop(self) -> None:
        """End it."""
        if self.process.stdin is not None:
            self.process.stdin.close()
        await self.process.wait()


class Through(Protocol):
    """What reports come through."""

    @property
    def pids(self) -> Sequence[int]:
        """Its processes."""

    def addressed(self, reports: Sequence[Message]) -> list[Message]:
        """Return the reports as they are sent to it."""

    async def expect(self, count: int) -> Callable[[], Awaitable[bool]]:
        """Return whether so many more have come through."""


class Relay:
    """Two hops, with topics of their own."""

    def __init__(self, source: str, hops: Sequence[Hop]) -> None:
        self._source = source
        self._hops = hops
        self._sent = 0
        self.pids = [hop.process.pid for hop in hops]

    @classmethod
    async def start(
        cls, on: System, stack: AsyncExitStack, name: str, partitions: int, *flags: str
    ) -> "Relay":
        """Start the two processes."""
        source, target = f"{name}.reports", f"{name}.kept"
        await on.bus.create(
            [
                TopicDescription(topic, partitions, 1, {"max.message.bytes": "1114112"})
                for topic in (source, target)
            ]
        )
        hops = []
        for topics in ((source, target, *flags), (target,)):
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "benchmarks.relay",
                on.address,
                *topics,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
            )
            hops.append(Hop(process))
            stack.push_async_callback(hops[-1].stop)
        return cls(source, hops)

    def addressed(self, reports: Sequence[Message]) -> list[Message]:
        """Return the reports as they are sent to it."""
        return [Message(self._source, one.partition, one.key, one.value, one.headers) for one in reports]

    async def expect(self, count: int) -> Callable[[], Awaitable[bool]]:
        """Return whether so many more records have come through."""
        self._sent += count

        async def settled() -> bool:
            return min([await hop.settled() for hop in self._hops]) >= self._sent

        return settled


class Product:
    """The privacy worker, and the aggregation worker in one process or in several."""

    def __init__(self, privacy: Workers, aggregation: Sequence[Workers], patterns: int) -> None:
        self._privacy = privacy
        self._aggregation = aggregation
        self._patterns = patterns
        self.pids = [privacy.pid, *(one.pid for one in aggregation)]

    def addressed(self, reports: Sequence[Message]) -> list[Message]:
        """Return the reports as they are sent to it."""
        return list(reports)

    async def expect(self, count: int) -> Callable[[], Awaitable[bool]]:
        """Return whether so many more reports are admitted, and in the state of the aggregation."""
        rows = await self._rows() + count * self._patterns
        ahead = await self._written() - await self._taken()

        async def settled() -> bool:
            return await self._rows() >= rows and await self._written() - await self._taken() <= ahead

        return settled

    async def _rows(self) -> float:
        return await self._privacy.counted("flc_rows_total", outcome="accepted")

    async def _written(self) -> float:
        return await self._privacy.counted("flc_events_emitted_total", type=Contribution.__name__)

    async def _taken(self) -> float:
        """Return the contributions in the state of processes that may have started long after privacy."""
        taken = [
            await one.counted("flc_records_read_total", topic=Contribution.topic) for one in self._aggregation
        ]
        return sum(taken)


async def publish(producer: Producer, messages: Sequence[Message]) -> None:
    """Send everything."""
    for start in range(0, len(messages), BATCH):
        await producer.send(messages[start : start + BATCH])


async def pass_through(on: System, producer: Producer, through: Through, reports: Sequence[Message]) -> Cost:
    """Publish the reports and wait until all have come through; CPU seconds are those of everybody."""
    pids = [*through.pids, *on.brokers, os.getpid()]
    messages, settled = through.addressed(reports), await through.expect(len(reports))
    cpu_started, started = cpu_seconds(pids), time.perf_counter()
    await publish(producer, messages)
    await until(settled, "the reports to come through")
    return Cost(time.perf_counter() - started, cpu_seconds(pids) - cpu_started)


async def work_off(on: System, producer: Producer, through: Through, reports: Sequence[Message]) -> Cost:
    """Publish the reports while nobody reads, then let them come through: neither counts the publisher."""
    pids = [*through.pids, *on.brokers]
    messages, settled = through.addressed(reports), await through.expect(len(reports))
    with paused(through.pids):
        await publish(producer, messages)
        cpu_started, started = cpu_seconds(pids), time.perf_counter()
    await until(settled, "the backlog to be worked off")
    return Cost(time.perf_counter() - started, cpu_seconds(pids) - cpu_started)


async def figures(sizes: Sizes) -> list[Figure]:
    """Measure."""
    async with system(sizes.partitions) as on, AsyncExitStack() as stack:
        counts = await partition_counts(on.bus, (InstanceRegistered.topic, PatternReport.topic))
        population = Population(sizes.instances, sizes.patterns, sizes.pool)
        federation = Federation("benchmark", population, counts)
        producer = await on.bus.producer()
        stack.push_async_callback(producer.close)
        await publish(producer, federation.registrations())
        product = Product(await on.start("privacy"), [await on.start("aggregation")], sizes.patterns)
        candidates: dict[str, Through] = {
            "relay": await Relay.start(on, stack, "bare", sizes.partitions),
            "verifying": await Relay.start(on, stack, "verifying", sizes.partitions, "--verify"),
            "product": product,
        }
        costs: dict[str, list[Cost]] = {name: [] for name in candidates}
        size = 0
        for repetition in range(sizes.warm_up + sizes.repetitions):
            reports = federation.reports(sizes.reports)
            size = contents(reports)
            for name, through in candidates.items():
                cost = await pass_through(on, producer, through, reports)
                if repetition >= sizes.warm_up:
                    costs[name].append(cost)
        peaks = {name: sum(map(peak_mb, one.pids)) for name, one in candidates.items()}
    return _figures(sizes, costs, peaks, size)


def _figures(sizes: Sizes, costs: dict[str, list[Cost]], peaks: dict[str, float], size: int) -> list[Figure]:
    signatures = sizes.reports * sizes.patterns
    seconds = {name: [cost.seconds for cost in of] for name, of in costs.items()}
    cpu = {name: [cost.cpu_seconds for cost in of] for name, of in costs.items()}
    details = {
        "reports": sizes.reports,
        "signatures": signatures,
        "report_bytes": size / sizes.reports,
        "signatures_a_second": {name: signatures / Spread.of(of).median for name, of in seconds.items()},
        "cpu_microseconds_a_signature": {
            name: Spread.of(of).median / signatures * 1e6 for name, of in cpu.items()
        },
        "peak_mb": peaks,
    }
    return [
        Figure(
            "P1",
            "end to end, signatures a second / the bare relay that verifies signatures",
            0.6,
            "at least",
            ratios(seconds["verifying"], seconds["product"]),
            details,
        ),
        Figure(
            "P1 CPU",
            "CPU seconds of that relay / of the product, the broker and the publisher in both",
            None,
            "at least",
            ratios(cpu["verifying"], cpu["product"]),
        ),
        Figure(
            "P1 bare",
            "end to end, signatures a second / the bare relay that verifies nothing",
            None,
            "at least",
            ratios(seconds["relay"], seconds["product"]),
        ),
    ]
