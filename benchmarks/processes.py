"""P6: what more processes and more partitions cost, and how the CPU time of a signature grows with them."""

from contextlib import AsyncExitStack

from benchmarks.end_to_end import Product, pass_through, publish
from benchmarks.figure import Figure, growth
from benchmarks.load import Federation, Population
from benchmarks.measurement import Spread, cpu_seconds, ratios
from benchmarks.sizes import Sizes
from benchmarks.system import System, Workers, shared, system
from convergence.topics import partition_counts
from schemas.instances import InstanceRegistered
from schemas.reports import PatternReport
from workers.runtime.port import Message, Producer

#: Aggregation processes, and partitions of every topic, that are compared.
PROCESSES = (1, 2, 3, 4)
PARTITIONS = (1, 3, 6, 12)

MICRO = 1e6


class Line:
    """A system with a privacy worker, and a federation that reports to it."""

    def __init__(
        self, on: System, sizes: Sizes, producer: Producer, federation: Federation, privacy: Workers
    ) -> None:
        self._on = on
        self._sizes = sizes
        self._producer = producer
        self._federation = federation
        self._privacy = privacy

    @classmethod
    async def start(cls, on: System, sizes: Sizes, stack: AsyncExitStack) -> "Line":
        """Start it, with every instance registered."""
        counts = await partition_counts(on.bus, (InstanceRegistered.topic, PatternReport.topic))
        population = Population(sizes.instances, sizes.patterns, sizes.pool)
        federation = Federation("benchmark", population, counts)
        producer = await on.bus.producer()
        stack.push_async_callback(producer.close)
        await publish(producer, federation.registrations())
        return cls(on, sizes, producer, federation, await on.start("privacy"))

    async def passed(self, processes: int) -> tuple[float, float, float]:
        """Send a pass through so many aggregation processes, behind one that does not count.

        Return the microseconds of CPU of a signature, in aggregation and in everything, and signatures a
        second.
        """
        aggregation = [await self._on.start("aggregation") for _ in range(processes)]
        await shared("aggregation", aggregation, self._on.partitions)
        product = Product(self._privacy, aggregation, self._sizes.patterns)
        await pass_through(self._on, self._producer, product, self._reports())
        reports = self._reports()
        pids = [one.pid for one in aggregation]
        before = cpu_seconds(pids)
        cost = await pass_through(self._on, self._producer, product, reports)
        own = cpu_seconds(pids) - before
        for one in aggregation:
            await one.stop()
        signatures = len(reports) * self._sizes.patterns
        return own / signatures * MICRO, cost.cpu_seconds / signatures * MICRO, signatures / cost.seconds

    def _reports(self) -> list[Message]:
        return self._federation.reports(self._sizes.growth_reports)


async def figures(sizes: Sizes) -> list[Figure]:
    """Measure."""
    of_processes: dict[int, list[tuple[float, float, float]]] = {count: [] for count in PROCESSES}
    async with system(sizes.partitions) as on, AsyncExitStack() as stack:
        line = await Line.start(on, sizes, stack)
        # Half of the repetitions: each process that starts or ends makes the group wait for its partitions.
        for _ in range((sizes.repetitions + 1) // 2):
            for count, passes in of_processes.items():
                passes.append(await line.passed(count))
    of_partitions = {}
    for count in PARTITIONS:
        async with system(count) as on, AsyncExitStack() as stack:
            line = await Line.start(on, sizes, stack)
            of_partitions[count] = await line.passed(1)
    one, two = ([own for own, _, _ in of_processes[count]] for count in (1, 2))
    by_processes = {count: Spread.of([own for own, _, _ in of]).median for count, of in of_processes.items()}
    return [
        Figure(
            "P6",
            "what two aggregation processes do with a CPU second each / one with one",
            1.8,
            "at least",
            ratios([2 * own for own in one], two),
            {"signatures_a_second_with_two": Spread.of([rate for _, _, rate in of_processes[2]]).median},
        ),
        growth(
            "P6 processes",
            "exponent of the CPU time of a signature in 1 to 4 aggregation processes",
            by_processes,
            over="processes",
            unit="CPU µs a signature",
            signatures_a_second={
                str(count): Spread.of([rate for _, _, rate in of]).median
                for count, of in of_processes.items()
            },
        ),
        growth(
            "P6 partitions",
            "exponent of the CPU time of a signature over 1 to 12 partitions, broker and publisher in it",
            {count: every for count, (_, every, _) in of_partitions.items()},
            over="partitions",
            unit="CPU µs a signature",
            signatures_a_second={str(count): rate for count, (_, _, rate) in of_partitions.items()},
        ),
    ]
