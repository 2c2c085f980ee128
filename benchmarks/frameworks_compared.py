"""P2: the product against the same job in the stream processors that a Python user would otherwise pick.

Each runs in an environment of its own, made by uv. They do one hop of the two: they verify, filter and split
into buckets, with a state of each instance, exactly once; the product's figure has the second hop in it, too.
The reports wait in the log before anybody reads, so that the publisher takes no part.
"""

import asyncio
import shutil
import sys
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import psutil

from benchmarks.end_to_end import Product, publish, work_off
from benchmarks.figure import Figure
from benchmarks.load import Federation, Population
from benchmarks.measurement import Spread, ratios
from benchmarks.sizes import Sizes
from benchmarks.system import System, system
from convergence.topics import partition_counts
from schemas.instances import InstanceRegistered
from schemas.reports import PatternReport
from workers.runtime.port import Message, TopicDescription, Unavailable

PROGRAMS = Path(__file__).parent / "frameworks"

#: Name -> (program, goal, what it needs, and the share of the reports that it gets).
FRAMEWORKS = {
    "quixstreams": ("quix.py", 4.0, ("quixstreams==3.28.1",), 1.0),
    "faust-streaming": ("faust_app.py", 40.0, ("faust-streaming==0.15.3",), 0.1),
}

COMMON = ("orjson==3.13.0", "pynacl==1.6.2")

#: Fewer reports than this, and the fixed tails of the frameworks distort.
ENOUGH_REPORTS = 50_000


class Framework:
    """A program in a framework, with topics of its own."""

    def __init__(self, on: System, name: str, process: asyncio.subprocess.Process) -> None:
        self._on = on
        self._name = name
        self._process = process
        self._sent = 0

    @classmethod
    async def start(cls, on: System, stack: AsyncExitStack, name: str, directory: Path) -> "Framework":
        """Start it; raises FileNotFoundError without uv."""
        uv = shutil.which("uv")
        if uv is None:
            raise FileNotFoundError("uv makes the environments of the frameworks, and is not there")
        limits = {"max.message.bytes": "1114112"}
        topics = [f"{name}.reports", f"{name}.contributions"]
        await on.bus.create([TopicDescription(topic, on.partitions, 1, limits) for topic in topics])
        program, _, needs, _ = FRAMEWORKS[name]
        packages = [part for one in (*needs, *COMMON) for part in ("--with", one)]
        process = await asyncio.create_subprocess_exec(
            uv,
            *("run", "--quiet", "--no-project", "--python", f"{sys.version_info[0]}.{sys.version_info[1]}"),
            *packages,
            *("python", str(PROGRAMS / program), on.address, *topics, f"{name}.group", str(directory / name)),
            cwd=PROGRAMS,
            stdout=asyncio.subprocess.DEVNULL,
        )
        framework = cls(on, name, process)
        stack.push_async_callback(framework.kill)
        return framework

    async def kill(self) -> None:
        """End it at once: faust never ends by itself in the middle of its transactions."""
        for pid in reversed(self.pids if self._process.returncode is None else []):
            psutil.Process(pid).kill()
        await self._process.wait()

    @property
    def pids(self) -> list[int]:
        """The processes: uv's, and those that it started."""
        own = psutil.Process(self._process.pid)
        return [own.pid, *(child.pid for child in own.children(recursive=True))]

    def addressed(self, reports: Sequence[Message]) -> list[Message]:
        """Return the reports as they are sent to it."""
        return [
            Message(f"{self._name}.reports", one.partition, one.key, one.value, one.headers)
            for one in reports
        ]

    async def expect(self, count: int) -> Callable[[], Awaitable[bool]]:
        """Return whether the offsets of so many more reports are committed, in the last transaction."""
        self._sent += count

        async def settled() -> bool:
            if self._process.returncode is not None:
                raise ChildProcessError(f"{self._name} ended with {self._process.returncode}")
            try:
                group = await self._on.bus.group(f"{self._name}.group")
            except Unavailable:
                return False  # the first group of a new broker
            source = f"{self._name}.reports"
            return sum(one.offset for at, one in group.commits.items() if at.topic == source) >= self._sent

        return settled


async def figures(sizes: Sizes) -> list[Figure]:
    """Measure."""
    async with AsyncExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="flc-benchmark-")))
        on = await stack.enter_async_context(system(sizes.partitions))
        counts = await partition_counts(on.bus, (InstanceRegistered.topic, PatternReport.topic))
        population = Population(sizes.instances, sizes.patterns, sizes.pool)
        federation = Federation("benchmark", population, counts)
        producer = await on.bus.producer()
        stack.push_async_callback(producer.close)
        await publish(producer, federation.registrations())
        product = Product(await on.start("privacy"), [await on.start("aggregation")], sizes.patterns)
        frameworks = {name: await Framework.start(on, stack, name, directory) for name in FRAMEWORKS}
        rates: dict[str, list[float]] = {name: [] for name in ("product", *FRAMEWORKS)}
        cpu: dict[str, list[float]] = {name: [] for name in rates}
        for repetition in range(sizes.warm_up + sizes.repetitions):
            reports = federation.reports(sizes.reports)
            costs = {"product": (await work_off(on, producer, product, reports), len(reports))}
            for name, framework in frameworks.items():
                some = reports[: int(len(reports) * FRAMEWORKS[name][3])]
                costs[name] = (await work_off(on, producer, framework, some), len(some))
            for name, (cost, count) in costs.items() if repetition >= sizes.warm_up else ():
                rates[name].append(count * sizes.patterns / cost.seconds)
                cpu[name].append(cost.cpu_seconds / count / sizes.patterns * 1e6)
    few = sizes.reports < ENOUGH_REPORTS
    return [
        Figure(
            "P2" if name == "quixstreams" else f"P2 {name}",
            f"a backlog worked off, signatures a second / {' '.join(needs)} with half of the hops",
            goal,
            "at least",
            ratios(rates["product"], rates[name]),
            {
                "signatures_a_second": {one: Spread.of(rates[one]).median for one in ("product", name)},
                "cpu_microseconds_a_signature": {
                    one: Spread.of(cpu[one]).median for one in ("product", name)
                },
            },
            f"with fewer than {ENOUGH_REPORTS:,} reports fixed tails distort" if few else "",
        )
        for name, (_, goal, needs, _) in FRAMEWORKS.items()
    ]
