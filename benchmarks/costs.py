"""What an instance costs: CPU time and memory of each worker, records and bytes of a synchronization.

These are what ``scaling`` carries to federations that no machine at hand can hold.
"""

import asyncio
import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

from benchmarks.end_to_end import publish
from benchmarks.figure import Figure
from benchmarks.fleet import Fleet, fleet
from benchmarks.load import Population
from benchmarks.measurement import Spread, cpu_seconds, peak_mb, ratios
from benchmarks.relay import verify
from benchmarks.sizes import Sizes
from benchmarks.synchronization import DEADLINES
from benchmarks.system import System, Workers, system, until
from flc import topics
from schemas.instances import Heartbeat
from schemas.reports import PatternReport
from workers.catalogue import WORKERS
from workers.runtime.port import TopicPartition

#: Seconds during which nothing is sent, and the workers only look who is silent.
IDLE_S = 5.0

MICRO = 1e6


@dataclass(frozen=True, slots=True)
class Taken:
    """What a federation took of each worker's process, and what it wrote."""

    #: CPU seconds of a synchronization, and of a second in which nothing is sent.
    cpu: Mapping[str, float]
    idle: Mapping[str, float]
    #: The largest resident memory so far, in MB.
    memory: Mapping[str, float]
    #: Records and bytes of the synchronization, by event type.
    written: Mapping[str, tuple[int, int]]


async def figures(sizes: Sizes) -> list[Figure]:
    """Measure."""
    few = Population(sizes.federations[0], sizes.patterns, sizes.pool)
    many = Population(sizes.large, sizes.patterns, sizes.pool)
    async with system(sizes.partitions, **DEADLINES) as on:
        workers = {name: await on.start(name) for name in WORKERS}
        for one in workers.values():
            await one.ready()
        async with fleet(on, few, "costs-few") as there:
            base = await taken(on, workers, there)
        async with fleet(on, many, "costs-many") as there:
            whole = await taken(on, workers, there)
            beats = [await beat(there, workers["health"]) for _ in range(sizes.repetitions)]
    more = many.instances - few.instances
    amplified = sum(size for _, size in whole.written.values()) / whole.written[PatternReport.__name__][1]
    return [
        Figure(
            "costs",
            "bytes written in a synchronization / bytes of its reports",
            None,
            "at most",
            Spread(amplified, amplified, amplified),
            {
                "instances": many.instances,
                "patterns": many.patterns,
                "partitions": sizes.partitions,
                "records": {name: records for name, (records, _) in whole.written.items()},
                "bytes": {name: size for name, (_, size) in whole.written.items()},
                "cpu_microseconds_an_instance": _each(whole.cpu, base.cpu, more),
                "idle_cpu_microseconds_an_instance": _each(whole.idle, base.idle, more),
                "memory_bytes_an_instance": _each(whole.memory, base.memory, more),
                "base_mb": base.memory,
            },
        ),
        Figure(
            "costs heartbeat",
            "CPU time of the health worker for a heartbeat / verifying its signature",
            None,
            "at most",
            ratios([work for work, _ in beats], [bare for _, bare in beats]),
            {"cpu_microseconds": Spread.of([work for work, _ in beats]).median * MICRO},
        ),
    ]


async def taken(on: System, workers: Mapping[str, Workers], there: Fleet) -> Taken:
    """Let a fleet synchronize, and then be quiet."""
    await there.synchronize()  # as every further one: nobody registers any more
    begin, before = await _ends(on), _cpu(on, workers)
    await there.synchronize()
    behind, written = _cpu(on, workers), await _written(on, begin, await _ends(on))
    quiet = _cpu(on, workers)
    await asyncio.sleep(IDLE_S)
    still = _cpu(on, workers)
    return Taken(
        {name: seconds - before[name] for name, seconds in behind.items()},
        {name: (seconds - quiet[name]) / IDLE_S for name, seconds in still.items()},
        {name: peak_mb(one.pid) for name, one in workers.items()},
        written,
    )


async def beat(there: Fleet, health: Workers) -> tuple[float, float]:
    """Let every instance send a heartbeat; return CPU seconds of one: of the worker, and of verifying it."""
    beats = there.federation.heartbeats()
    read = await health.counted("flc_records_read_total", topic=Heartbeat.topic)

    async def arrived() -> bool:
        return await health.counted("flc_records_read_total", topic=Heartbeat.topic) >= read + len(beats)

    before = cpu_seconds([health.pid])
    await publish(there.producer, beats)
    await until(arrived, "the heartbeats to be taken")
    worked = cpu_seconds([health.pid]) - before
    started = time.process_time()
    verify(beats, Heartbeat)
    return worked / len(beats), (time.process_time() - started) / len(beats)


async def _ends(on: System) -> dict[TopicPartition, int]:
    """Return the ends of all topics, those of the changelogs too."""
    declared = topics.declared()
    changelogs = [declared.changelog(worker.name, worker.inputs).name for worker in WORKERS.values()]
    return await on.bus.end_offsets(
        [
            TopicPartition(topic, number)
            for topic in (*declared.declared, *changelogs)
            for number in range(on.partitions)
        ]
    )


async def _written(
    on: System, first: Mapping[TopicPartition, int], ends: Mapping[TopicPartition, int]
) -> dict[str, tuple[int, int]]:
    """Return records and bytes (keys, values and headers) by event type; changelogs are one type."""
    found: dict[str, tuple[int, int]] = defaultdict(lambda: (0, 0))
    reader = await on.bus.reader({at: offset for at, offset in first.items() if offset < ends[at]})
    try:
        while any(reader.position(at) < end for at, end in ends.items() if first[at] < end):
            for record in await reader.poll(0.5):
                kind = dict(record.headers).get("ce_type", b"changelog").decode()
                headers = sum(len(name) + len(content) for name, content in record.headers)
                records, size = found[kind]
                found[kind] = (
                    records + 1,
                    size + headers + len(record.key or b"") + len(record.value or b""),
                )
    finally:
        await reader.close()
    return found


def _cpu(on: System, workers: Mapping[str, Workers]) -> dict[str, float]:
    return {
        **{name: cpu_seconds([one.pid]) for name, one in workers.items()},
        "broker": cpu_seconds(on.brokers),
    }


def _each(whole: Mapping[str, float], base: Mapping[str, float], instances: int) -> dict[str, float]:
    """Return the millionths that each further instance takes; noise can be less than nothing."""
    return {name: max(0.0, value - base[name]) / instances * MICRO for name, value in whole.items()}
