"""The workers under test: at least two processes of each, what they are told, and what is seen of them."""

import asyncio
import os
import re
import signal
import sys
import time
from asyncio.subprocess import Process as Child
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.request import urlopen

from prometheus_client.parser import text_string_to_metric_families

from tests.faults.journal import Journal
from tests.faults.proxy import Proxy
from tests.faults.schedule import PROXIED

ROOT = Path(__file__).parents[2]

#: A process that is told to end must have drained within so many seconds.
END_LIMIT_S = 25.0

#: Seconds between two looks at something that takes its time.
LOOK_S = 0.1

#: Seconds between two looks at the memory of all processes.
MEMORY_EVERY_S = 1.0


async def until(condition: Callable[[], object], limit_s: float) -> bool:
    """Wait until the condition holds; False if it does not within the limit."""
    deadline = time.monotonic() + limit_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(LOOK_S)
    return True


class Victim:
    """One or more workers in a process of their own."""

    def __init__(
        self,
        name: str,
        workers: Sequence[str],
        directory: Path,
        environment: Mapping[str, str],
        *,
        broker: int,
        proxy: Proxy | None = None,
        sabotage: str = "",
    ) -> None:
        self.name = name
        self.workers = tuple(workers)
        self.proxy = proxy
        self.log = directory / f"{name}.log"
        #: The largest memory of any process under this name.
        self.peak_bytes = 0
        #: One fault at a time.
        self.lock = asyncio.Lock()
        self._broker = broker
        self._sabotage = sabotage
        self._environment = {**environment, "PYTHONPATH": str(ROOT)}
        self._directory = directory
        self._child: Child | None = None

    async def start(self, crash_at: str = "") -> None:
        """Start the process."""
        proxy = 0 if self.proxy is None else self.proxy.port
        arguments = (str(self._broker), str(proxy), self._sabotage, *self.workers)
        with self.log.open("ab") as log:
            self._child = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "tests.faults.child", *arguments),
                env={**self._environment, "FLC_CRASH_AT": crash_at},
                cwd=self._directory,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=log,
            )

    @property
    def runs(self) -> bool:
        """Whether there is a process, stopped or not."""
        return self._child is not None and self._child.returncode is None

    @property
    def stopped(self) -> bool:
        """Whether the process is stopped by a signal."""
        return self._of_proc("status", r"State:\s+T") is not None

    def order(self, *words: str) -> None:
        """Give an order; see ``orders``."""
        if self.runs and self._child is not None and self._child.stdin is not None:
            self._child.stdin.write(" ".join(words).encode() + b"\n")

    def claims(self, claim: str) -> None:
        """Let an order have been followed that was given with this claim."""
        (self._directory / claim).touch()

    def signal(self, how: signal.Signals) -> None:
        """Send a signal, if there is a process."""
        if self.runs and self._child is not None:
            self._child.send_signal(how)

    async def died(self, limit_s: float) -> int | None:
        """Wait until the process has ended; return how, or None if it did not."""
        if self._child is None:
            return None
        try:
            return await asyncio.wait_for(self._child.wait(), limit_s)
        except TimeoutError:
            return None

    async def kill(self) -> int | None:
        """Kill the process and see it dead."""
        self.measure()
        self.signal(signal.SIGKILL)
        return await self.died(END_LIMIT_S)

    async def end(self) -> int | None:
        """Let the process drain; return how it ended, None if it had to be killed."""
        self.measure()
        self.signal(signal.SIGCONT)
        self.signal(signal.SIGTERM)
        code = await self.died(END_LIMIT_S)
        if code is None:
            await self.kill()
        return code

    def measure(self) -> None:
        """Note the largest memory that the process has had up to now."""
        found = self._of_proc("status", r"VmHWM:\s+([0-9]+) kB")
        if found is not None:
            self.peak_bytes = max(self.peak_bytes, int(found[1]) * 1024)

    async def accounts(self) -> dict[tuple[str, str], tuple[int, int]] | None:
        """Return what the process says: (worker, topic) -> records read, and settled. None: it is silent."""
        addresses = re.findall(r"http://[0-9.]+:[0-9]+", self.log.read_text(errors="replace"))
        try:
            text = await asyncio.to_thread(_get, f"{addresses[-1]}/metrics")
        except OSError:
            return None
        counts: dict[tuple[str, str], list[int]] = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                place = {"flc_records_read_total": 0, "flc_records_handled_total": 1}.get(sample.name)
                if place is not None:
                    both = counts.setdefault((sample.labels["worker"], sample.labels["topic"]), [0, 0])
                    both[place] += int(sample.value)
        return {key: (read, settled) for key, (read, settled) in counts.items()}

    def _of_proc(self, page: str, pattern: str) -> re.Match[str] | None:
        if not self.runs or self._child is None:
            return None
        try:
            return re.search(pattern, Path(f"/proc/{self._child.pid}/{page}").read_text())
        except (FileNotFoundError, ProcessLookupError):
            return None


def _get(url: str) -> str:
    with urlopen(url, timeout=10) as answer:  # noqa: S310  (our own)
        text: str = answer.read().decode()
    return text


class Fleet:
    """All victims by name."""

    def __init__(
        self,
        layout: Sequence[tuple[str, Sequence[str]]],
        directory: Path,
        environment: Mapping[str, str],
        *,
        broker: int,
        sabotage: str = "",
    ) -> None:
        self.victims: dict[str, Victim] = {}
        self._directory = directory
        self._broker = broker
        self._sabotage = sabotage
        self._environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("FLC_", "KAFKA_"))},
            **environment,
        }
        for name, workers in layout:
            proxy = Proxy(broker) if name.endswith(f"-{PROXIED}") else None
            self.victims[name] = self._victim(name, workers, proxy)

    def _victim(self, name: str, workers: Sequence[str], proxy: Proxy | None = None) -> Victim:
        environment = dict(self._environment)
        if proxy is not None:
            # One of each worker is a static member of its group, the other is not.
            environment["FLC_GROUP_INSTANCE_ID"] = name
        return Victim(
            name,
            workers,
            self._directory,
            environment,
            broker=self._broker,
            proxy=proxy,
            sabotage=self._sabotage,
        )

    def of(self, worker: str) -> Iterator[Victim]:
        """Yield the victims that run a worker."""
        return (victim for victim in self.victims.values() if worker in victim.workers)

    @asynccontextmanager
    async def another(self, worker: str) -> AsyncIterator[Victim]:
        """Run one more process of a worker while the block runs."""
        name = f"{worker}-{len(self.victims)}"
        more = self.victims[name] = self._victim(name, [worker])
        try:
            yield more
        finally:
            if more.runs:
                await more.end()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run all while the block runs; whatever is left at its end is killed."""
        memory = asyncio.create_task(self._watch_memory())
        try:
            for victim in self.victims.values():
                if victim.proxy is not None:
                    await victim.proxy.start()
            for victim in self.victims.values():
                await victim.start()
            yield
        finally:
            memory.cancel()
            await asyncio.gather(*(victim.kill() for victim in self.victims.values() if victim.runs))
            for victim in self.victims.values():
                if victim.proxy is not None:
                    await victim.proxy.stop()

    async def end(self) -> dict[str, int | None]:
        """Let all drain and end; return how each did."""
        alive = [victim for victim in self.victims.values() if victim.runs]
        codes = await asyncio.gather(*(victim.end() for victim in alive))
        return {victim.name: code for victim, code in zip(alive, codes, strict=True)}

    async def _watch_memory(self) -> None:
        while True:
            for victim in self.victims.values():
                victim.measure()
            await asyncio.sleep(MEMORY_EVERY_S)

    def journal(self) -> Journal:
        """Return what all processes have logged up to now."""
        return Journal.read({name: victim.log for name, victim in self.victims.items()})
