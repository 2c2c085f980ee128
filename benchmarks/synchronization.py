"""P4 and P8: how long a synchronization takes, and how that grows with the federation."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from benchmarks import straightforward
from benchmarks.figure import Figure, growth
from benchmarks.fleet import fleet
from benchmarks.load import Population
from benchmarks.measurement import Spread, cpu_seconds, exponent, peak_mb
from benchmarks.sizes import Sizes
from benchmarks.system import System, Workers, system
from convergence.topics import POLL_S
from schemas.convergence import SynchronizationCompleted
from workers.catalogue import WORKERS
from workers.runtime.port import Message, Reader, TopicDescription, TopicPartition

#: Records that are written and read one after the other between a command and the result that answers it: the
#: command, the announcement, a report, its admission, its health, what collection hands over, what validation
#: hands over, a barrier, a partial, what consensus hands over, what detection hands over, the announcement of
#: the knowledge, an acknowledgement, what distribution hands over, and the result.
HOPS = 15

#: Transactional hops that are timed, and the seconds between two of them.
HOPS_TIMED = 40
REST_S = 0.05

#: Synchronizations of ten instances until the broker has compiled what they need of it: the first take twice
#: as long. An instance may report 60 times a minute.
WARM_UP = 20

#: Weight of an instance that is reliable, has 100 good rows and is below the cap; the same for everybody.
WEIGHT = 550_000

#: Scores are published with two decimals.
ROUNDING = 0.005 + 1e-5

#: The collection and the acknowledgements wait for everybody.
DEADLINES = {
    "FLC_COLLECTION_DEADLINE_MS": "240000",
    "FLC_ACKNOWLEDGEMENT_DEADLINE_MS": "240000",
    "FLC_HEARTBEAT_TIMEOUT_S": "86400",
}


@dataclass(frozen=True, slots=True)
class Measured:
    """The synchronizations of a federation of some size."""

    instances: int
    results: Sequence[SynchronizationCompleted]
    seconds: Sequence[float]
    #: Of all workers and the broker, for each synchronization.
    cpu_seconds: float

    @property
    def median(self) -> float:
        """The seconds of the one in the middle."""
        return Spread.of(self.seconds).median


async def figures(sizes: Sizes) -> list[Figure]:
    """Measure."""
    what = (
        f"a synchronization of {sizes.federations[0]} instances / {HOPS} hops, each a bare transactional one"
    )
    async with system(sizes.partitions, **DEADLINES) as on:
        few, hop = await _beside_a_hop(on, sizes, [await on.start(*WORKERS)])
        together = _against_hops("P4", what, 1.5, few, hop)
    async with system(sizes.partitions, **DEADLINES) as on:
        workers = {name: await on.start(name) for name in WORKERS}
        each = list(workers.values())
        few, hop = await _beside_a_hop(on, sizes, each)
        apart = _against_hops("P4 apart", "the same with a process for each worker", None, few, hop)
        more = [
            await synchronized(
                on, sizes, instances, each, warm_up=sizes.warm_up, repetitions=sizes.repetitions
            )
            for instances in sizes.federations[1:]
        ]
        memory = {name: peak_mb(one.pid) for name, one in workers.items()}
    right = [
        float(confirmed(one, Population(sizes.large, sizes.patterns, sizes.pool))) for one in more[-1].results
    ]
    slope = exponent([one.instances for one in more[-2:]], [one.median for one in more[-2:]])
    return [
        together,
        apart,
        Figure(
            "P4 growth",
            f"exponent of its time from {more[-2].instances:,} to {more[-1].instances:,} instances",
            1.1,
            "at most",
            Spread(slope, slope, slope),
        ),
        growth(
            "P4 curve",
            f"the same from {few.instances:,} instances on",
            {one.instances: one.median for one in (few, *more)},
            over="instances",
            unit="seconds",
        ),
        growth(
            "P4 CPU",
            "exponent of its CPU time, all workers and the broker",
            {one.instances: one.cpu_seconds for one in (few, *more)},
            over="instances",
            unit="CPU seconds",
        ),
        Figure(
            "P8",
            f"synchronizations of {sizes.large:,} instances in which every score is right / all",
            1,
            "at least",
            Spread.of(right),
            {
                "seconds": more[-1].median,
                "phase_milliseconds": _phases(more[-1]),
                "acknowledged": more[-1].results[-1].acknowledged,
                "patterns_aggregated": more[-1].results[-1].patterns_aggregated,
                "peak_mb": memory,
            },
        ),
    ]


async def _beside_a_hop(on: System, sizes: Sizes, workers: Sequence[Workers]) -> tuple[Measured, float]:
    """Return the smallest federation as it was measured, and the seconds of a bare hop just after."""
    for one in workers:
        await one.ready()
    few = await synchronized(
        on, sizes, sizes.federations[0], workers, warm_up=WARM_UP, repetitions=sizes.samples
    )
    return few, Spread.of(await hop_seconds(on)).median


def _against_hops(name: str, what: str, goal: float | None, few: Measured, hop: float) -> Figure:
    details = {
        "milliseconds": few.median * 1e3,
        "hop_milliseconds": hop * 1e3,
        "cpu_milliseconds": few.cpu_seconds * 1e3,
        "phase_milliseconds": _phases(few),
    }
    ratio = Spread.of([seconds / (HOPS * hop) for seconds in few.seconds])
    return Figure(name, what, goal, "at most", ratio, details)


async def synchronized(
    on: System, sizes: Sizes, instances: int, workers: Sequence[Workers], *, warm_up: int, repetitions: int
) -> Measured:
    """Let a federation of so many instances synchronize, again and again."""
    population = Population(instances, sizes.patterns, sizes.pool)
    pids = [*(one.pid for one in workers), *on.brokers]
    results, seconds = [], []
    async with fleet(on, population, f"of-{instances}") as there:
        for _ in range(warm_up):
            await there.synchronize()
        cpu_started = cpu_seconds(pids)
        for _ in range(repetitions):
            result, took = await there.synchronize()
            results.append(result)
            seconds.append(took)
        cpu = (cpu_seconds(pids) - cpu_started) / repetitions
    return Measured(instances, results, seconds, cpu)


def confirmed(result: SynchronizationCompleted, population: Population) -> bool:
    """Tell whether everybody was in and has the scores that the program of dictionaries computes."""
    equal = replace(population.members(), weight=np.full(population.instances, WEIGHT))
    expected = straightforward.scores(straightforward.held(population.cells()), equal)
    told = {
        int(one.instance_id.removeprefix("i")): (one.alignment, one.convergence_score, one.emergence_score)
        for one in result.instance_scores
    }
    return (
        result.stragglers == 0
        and told.keys() == expected.keys()
        and all(
            abs(public - exact) <= ROUNDING
            for instance, of in told.items()
            for public, exact in zip(of, expected[instance], strict=True)
        )
    )


async def hop_seconds(on: System) -> list[float]:
    """Return how long single records take from the begin of their transaction to a committed reader."""
    at = TopicPartition("benchmark.hop", 0)
    await on.bus.create([TopicDescription(at.topic, 1, 1, {})])
    producer = await on.bus.transactional_producer("benchmark.hop", 10_000)
    reader = await on.bus.reader({at: -1})
    took = []
    try:
        for _ in range(HOPS_TIMED):
            await asyncio.sleep(REST_S)
            started = time.perf_counter()
            await asyncio.gather(producer.transact([Message(*at, b"key", bytes(500))]), _next(reader))
            took.append(time.perf_counter() - started)
    finally:
        await reader.close()
        await producer.close()
    return took[HOPS_TIMED // 4 :]


async def _next(reader: Reader) -> None:
    while not await reader.poll(POLL_S):
        pass


def _phases(of: Measured) -> dict[str, float]:
    phases = of.results[0].phase_duration_ms
    return {phase: Spread.of([one.phase_duration_ms[phase] for one in of.results]).median for phase in phases}
