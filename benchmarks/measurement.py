"""How something is measured: candidates in turn, repeated, with the CPU time and the memory of processes."""

import os
import platform
import statistics
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from math import log
from pathlib import Path

import psutil

from flc.broker import VERSION as KAFKA_VERSION


@dataclass(frozen=True, slots=True)
class Cost:
    """What one run of something took."""

    seconds: float
    #: Of all processes that took part, the broker too where there is one.
    cpu_seconds: float


@dataclass(frozen=True, slots=True)
class Spread:
    """The middle of several runs, and how far they lie apart."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Collection[float]) -> "Spread":
        """Return the spread of at least one value."""
        return cls(statistics.median(values), min(values), max(values))


def in_turn(
    candidates: Mapping[str, Callable[[], object]], *, repetitions: int, warm_up: int = 1
) -> dict[str, list[Cost]]:
    """Run the candidates in this process, one after the other, again and again; the warm-up does not count.

    In turn, because a shared machine is slower in one minute than in the next.
    """
    costs: dict[str, list[Cost]] = {name: [] for name in candidates}
    for repetition in range(warm_up + repetitions):
        for name, run in candidates.items():
            started, cpu_started = time.perf_counter(), time.process_time()
            run()
            cost = Cost(time.perf_counter() - started, time.process_time() - cpu_started)
            if repetition >= warm_up:
                costs[name].append(cost)
    return costs


def ratios(above: Sequence[float], below: Sequence[float]) -> Spread:
    """Return the spread of the quotients of what ran side by side."""
    return Spread.of([one / other for one, other in zip(above, below, strict=True)])


def exponent(sizes: Sequence[float], values: Sequence[float]) -> float:
    """Return k of the power law value = c * size^k that fits best (least squares of the logarithms)."""
    xs, ys = [log(size) for size in sizes], [log(value) for value in values]
    return statistics.linear_regression(xs, ys).slope


def cpu_seconds(pids: Collection[int]) -> float:
    """Return the CPU time that processes have taken so far."""
    return sum(sum(psutil.Process(pid).cpu_times()[:2]) for pid in pids)


@contextmanager
def paused(pids: Collection[int]) -> Iterator[None]:
    """Hold processes up while the block runs: what is published meanwhile is a backlog for them."""
    processes = [psutil.Process(pid) for pid in pids]
    for one in processes:
        one.suspend()
    try:
        yield
    finally:
        for one in processes:
            one.resume()


def resident_mb(pid: int) -> float:
    """Return the resident memory of a process now."""
    return float(psutil.Process(pid).memory_info().rss) / 1e6


def peak_mb(pid: int) -> float:
    """Return the largest resident memory of a process so far (Linux; elsewhere what it is now)."""
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        return resident_mb(pid)
    (line,) = [one for one in status.splitlines() if one.startswith("VmHWM:")]
    return int(line.split()[1]) * 1024 / 1e6


def machine() -> dict[str, str]:
    """Return what the figures depend on."""
    packages = ("aiokafka", "numpy", "orjson", "pybase64", "pydantic", "pynacl")
    return {
        "cpu": _cpu(),
        "cores": str(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()),
        "memory_gb": f"{psutil.virtual_memory().total / 1e9:.0f}",
        "load_at_start": f"{psutil.getloadavg()[0]:.1f}",
        "system": platform.platform(),
        "python": platform.python_version(),
        "kafka": KAFKA_VERSION,
        **{name: version(name) for name in packages},
    }


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace").splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()
