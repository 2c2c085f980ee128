"""The system that is measured: one Apache Kafka on loopback, its topics, and processes with workers."""

import asyncio
import json
import os
import sys
import tempfile
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
from prometheus_client.parser import text_string_to_metric_families

from convergence.keys import Keys
from flc import topics
from flc.broker import EmbeddedBroker
from flc.connection import connected
from workers.runtime import topology
from workers.runtime.port import Bus
from workers.settings import Settings

#: Seconds until what was asked for must have happened.
PATIENCE_S = 300.0

#: Between two looks at what processes count: each look costs a process about a millisecond.
LOOK_S = 0.1

_FLC = (sys.executable, "-c", "from flc.main import main; main()", "worker", "run")


@dataclass(frozen=True, slots=True)
class Workers:
    """A process that runs workers."""

    process: asyncio.subprocess.Process
    url: str

    @property
    def pid(self) -> int:
        """The process id."""
        return self.process.pid

    async def counted(self, metric: str, **labels: str) -> float:
        """Return the sum of a metric's samples that have these labels."""
        text = await asyncio.to_thread(_get, f"{self.url}/metrics")
        return sum(
            sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name == metric and labels.items() <= sample.labels.items()
        )

    async def ready(self) -> None:
        """Wait until every task has its state."""
        async with asyncio.timeout(PATIENCE_S):
            while not await asyncio.to_thread(_answers, f"{self.url}/readyz"):
                await asyncio.sleep(LOOK_S)

    async def running(self, worker: str) -> int:
        """Return how many partitions of a worker the process serves."""
        info = json.loads(await asyncio.to_thread(_get, f"{self.url}/info"))
        return list(info["workers"][worker]["tasks"].values()).count("running")

    async def stop(self) -> None:
        """Let the workers finish what is in hand, and end."""
        if self.process.returncode is None:
            self.process.terminate()
            await self.process.wait()


@dataclass(frozen=True)
class System:
    """A broker with the topics of the product; workers are started on it as they are needed."""

    bus: Bus
    settings: Settings
    address: str
    #: Of every topic.
    partitions: int
    #: Process ids of a broker that was started for this; none for one that was there.
    brokers: Sequence[int]
    _environment: Mapping[str, str]
    _stack: AsyncExitStack

    async def start(self, *names: str) -> Workers:
        """Start a process with these workers."""
        process = await asyncio.create_subprocess_exec(
            *_FLC, *names, env=self._environment, stderr=asyncio.subprocess.PIPE
        )
        workers = Workers(process, await _url(process))
        self._stack.push_async_callback(workers.stop)
        self._stack.callback(asyncio.create_task(_drain(process)).cancel)
        return workers

    def federation(self, name: str) -> Settings:
        """Return the settings of a federation of its own: the instances of another would be awaited."""
        own = self.settings.model_copy(update={"federation": f"{self.settings.federation}-{name}"})
        Keys(own.keys_directory).new_federation(own.federation)
        return own


@asynccontextmanager
async def system(partitions: int = 6, **variables: str) -> AsyncIterator[System]:
    """Yield a system with so many partitions a topic; ``variables`` go to the environment of its workers.

    The broker is a new one, unless KAFKA_BOOTSTRAP_SERVERS names one.
    """
    async with AsyncExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="flc-benchmark-")))
        address = os.environ.get("KAFKA_BOOTSTRAP_SERVERS")
        brokers: list[int] = []
        if address is None:
            broker = EmbeddedBroker()
            address = await broker.start(directory / "broker")
            stack.callback(broker.stop)
            brokers = [one.pid for one in psutil.Process().children() if "kafka.Kafka" in one.cmdline()]
        settings = Settings(
            bootstrap_servers=address,
            enrolment="open",
            federation=f"benchmark-{os.getpid()}",
            keys_directory=directory / "keys",
        )
        Keys(settings.keys_directory).new_federation(settings.federation)
        bus = await stack.enter_async_context(connected(settings))
        await topology.apply(bus, await topics.planned(bus, topics.declared(partitions=partitions)))
        environment = {
            **os.environ,
            "KAFKA_BOOTSTRAP_SERVERS": address,
            "FLC_ENROLMENT": "open",
            "FLC_HTTP_PORT": "0",
            "FLC_LOG_LEVEL": "error",
            "FLC_MAX_REPORTS_A_MINUTE": "1000000000",
            "FLC_MAX_REPORT_BYTES_A_MINUTE": "1000000000000",
            "FLC_PARTITIONS": str(partitions),
            **variables,
        }
        yield System(bus, settings, address, partitions, brokers, environment, stack)


async def shared(worker: str, processes: Sequence[Workers], partitions: int) -> None:
    """Wait until the processes serve all partitions, each as many as any other or one less or more."""
    fair = [partitions // len(processes) + (at < partitions % len(processes)) for at in range(len(processes))]

    async def fairly() -> bool:
        return sorted([await one.running(worker) for one in processes], reverse=True) == fair

    await until(fairly, f"{partitions} partitions to be shared")


async def until(happened: Callable[[], Awaitable[bool]], what: str) -> None:
    """Wait until ``happened`` says so; raises TimeoutError with ``what``."""
    try:
        async with asyncio.timeout(PATIENCE_S):
            while not await happened():
                await asyncio.sleep(LOOK_S)
    except TimeoutError:
        raise TimeoutError(f"waited {PATIENCE_S:.0f} s for {what}") from None


async def _url(process: asyncio.subprocess.Process) -> str:
    """Return the address that a worker process prints when it has started."""
    if process.stderr is None:
        raise ValueError("the process has no pipe")
    async for line in process.stderr:
        for word in line.decode().split():
            if word.startswith("http://"):
                return word.partition("/readyz")[0]
    raise ChildProcessError(f"a worker process ended with {await process.wait()}")


async def _drain(process: asyncio.subprocess.Process) -> None:
    if process.stderr is not None:
        async for line in process.stderr:
            sys.stderr.buffer.write(line)


def _get(url: str) -> str:
    with urllib.request.urlopen(url, timeout=PATIENCE_S) as answer:  # noqa: S310  (our own process)
        text: str = answer.read().decode()
        return text


def _answers(url: str) -> bool:
    try:
        _get(url)
    except OSError:
        return False
    return True
