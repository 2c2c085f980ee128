"""P5b and P7: what the changelog of the aggregation costs, and how fast a state comes back from it."""

import time
from collections.abc import Awaitable, Callable, Mapping
from typing import cast

from aiokafka import AIOKafkaConsumer
from aiokafka import TopicPartition as KafkaPartition

from benchmarks.figure import Figure
from benchmarks.fleet import fleet
from benchmarks.load import Population
from benchmarks.measurement import Cost, Spread, ratios
from benchmarks.sizes import Sizes
from benchmarks.system import System, system
from convergence.topics import partition_counts
from flc import topics
from schemas.reports import Contribution
from workers.aggregation import Aggregation
from workers.catalogue import WORKERS
from workers.fold import Context, State, Worker
from workers.runtime.clock import SystemClock
from workers.runtime.garbage import collect_less
from workers.runtime.port import TopicPartition
from workers.runtime.position import POSITION_KEY, Position
from workers.runtime.restore import Restore

CHANGELOG = topics.declared().changelog(Aggregation.name, Aggregation.inputs).name

#: First offset and the one behind the last, of each partition.
Ranges = Mapping[TopicPartition, tuple[int, int]]


async def figures(sizes: Sizes) -> list[Figure]:
    """Measure."""
    async with system(sizes.partitions) as on:
        await _worked(on, sizes)
        partitions = range(sizes.partitions)
        read = {number: await _to_be_read(on, number) for number in partitions}
        counts = await partition_counts(on.bus, [Contribution.topic, *Aggregation.outputs])
        collect_less()  # as in the process of a worker
        candidates: dict[str, Callable[[int], Awaitable[int]]] = {
            "raw": lambda number: read_raw(on, read[number]),
            "restore": lambda number: _restored(on, Context(number, counts, on.settings)),
        }
        costs: dict[str, list[Cost]] = {name: [] for name in candidates}
        sums: dict[str, int] = {}
        for repetition in range(sizes.warm_up + sizes.repetitions):
            for name, run in candidates.items():
                started, cpu_started = time.perf_counter(), time.process_time()
                results = [await run(number) for number in partitions]
                cost = Cost(time.perf_counter() - started, time.process_time() - cpu_started)
                if repetition >= sizes.warm_up:
                    costs[name].append(cost)
                sums[name] = sum(results)
        by_topic = {topic: await _written(on, topic, partitions) for topic in (CHANGELOG, Contribution.topic)}
    return _figures(costs, by_topic, sums["raw"], sums["restore"])


async def _worked(on: System, sizes: Sizes) -> None:
    """Let every instance report several times, with a round behind each time, and end all workers."""
    workers = [await on.start(name) for name in WORKERS]
    async with fleet(on, Population(sizes.large, sizes.patterns, sizes.pool), "benchmark") as there:
        for _ in range(sizes.generations - 1):
            await there.report()
    for one in workers:
        await one.stop()


async def _to_be_read(on: System, number: int) -> Ranges:
    """Return what a restore of a partition reads: its changelog, and the input that is not covered."""
    changelog, source = TopicPartition(CHANGELOG, number), TopicPartition(Contribution.topic, number)
    ends = await on.bus.end_offsets([changelog])
    reader = await on.bus.reader({changelog: -2})
    position = None
    try:
        while reader.position(changelog) < ends[changelog]:
            for record in await reader.poll(0.5):
                if record.key == POSITION_KEY:
                    position = Position.decode(record.value or b"")
    finally:
        await reader.close()
    if position is None:
        raise ValueError(f"the aggregation of partition {number} has no position")
    beginning = await on.bus.beginning_offsets([changelog])
    covered, following = position.covered[source.topic], position.next[source.topic]
    return {changelog: (beginning[changelog], ends[changelog]), source: (covered, following)}


async def _restored(on: System, context: Context) -> int:
    """Restore a partition's state; return its bytes."""
    changelog = TopicPartition(CHANGELOG, context.partition)
    worker = cast("Worker[State]", Aggregation(context))
    restore = Restore(on.bus, SystemClock(), worker, changelog, 30.0, lambda: None)
    return (await restore.run()).sizes.total


async def read_raw(on: System, ranges: Ranges) -> int:
    """Read these ranges with nothing but aiokafka; return the bytes of keys and values."""
    size = 0
    for at, (first, end) in ranges.items():
        if first == end:
            continue  # aiokafka's consumer ends in a CancelledError when it is stopped as soon as started
        partition = KafkaPartition(*at)
        async with AIOKafkaConsumer(
            bootstrap_servers=on.address, isolation_level="read_committed", enable_auto_commit=False
        ) as consumer:
            consumer.assign([partition])
            consumer.seek(partition, first)
            while await consumer.position(partition) < end:
                for records in (await consumer.getmany(timeout_ms=500)).values():
                    size += sum(len(one.key or b"") + len(one.value or b"") for one in records)
    return size


async def _written(on: System, topic: str, partitions: range) -> int:
    """Return the bytes of keys and values that a topic has been given."""
    each = [TopicPartition(topic, number) for number in partitions]
    first, end = await on.bus.beginning_offsets(each), await on.bus.end_offsets(each)
    return await read_raw(on, {at: (first[at], end[at]) for at in each})


def _figures(
    costs: dict[str, list[Cost]], by_topic: dict[str, int], restore_bytes: int, state_bytes: int
) -> list[Figure]:
    seconds = {name: [cost.seconds for cost in of] for name, of in costs.items()}
    cpu = {name: [cost.cpu_seconds for cost in of] for name, of in costs.items()}
    share, factor = by_topic[CHANGELOG] / by_topic[Contribution.topic], restore_bytes / state_bytes
    return [
        Figure(
            "P5b",
            "bytes written to the changelog / bytes of the input",
            0.2,
            "at most",
            Spread(share, share, share),
            {"changelog_bytes": by_topic[CHANGELOG], "input_bytes": by_topic[Contribution.topic]},
        ),
        Figure(
            "P5b restore",
            "bytes that a restore reads / bytes of the state",
            6,
            "at most",
            Spread(factor, factor, factor),
            {"restore_bytes": restore_bytes, "state_bytes": state_bytes},
        ),
        Figure(
            "P7",
            "restore, bytes a second / a raw read of the same bytes",
            0.7,
            "at least",
            ratios(seconds["raw"], seconds["restore"]),
            {
                "bytes": restore_bytes,
                "megabytes_a_second": {
                    name: restore_bytes / Spread.of(of).median / 1e6 for name, of in seconds.items()
                },
                "cpu_seconds": {name: Spread.of(of).median for name, of in cpu.items()},
            },
        ),
    ]
