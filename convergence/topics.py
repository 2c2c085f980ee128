"""What the client asks of topics: how many partitions they have, and everything that is on them now."""

import asyncio
import logging
from collections.abc import AsyncIterator, Collection, Mapping

from convergence.errors import TopicsMissing
from schemas.partitioning import key_partition
from workers.fold import Record
from workers.runtime.port import Bus, Corrupt, Reader, TopicDescription, TopicPartition, Unavailable

_log = logging.getLogger(__name__)

#: How long one poll waits; what arrives is returned at once.
POLL_S = 1.0

#: After so long without any progress towards what is known to be there, the bus counts as away.
STALLED_S = 30.0


async def described(bus: Bus, topics: Collection[str]) -> Mapping[str, TopicDescription]:
    """Return the topics as they are on the bus; raises TopicsMissing."""
    found = await bus.describe(topics)
    if missing := sorted(set(topics) - set(found)):
        raise TopicsMissing(missing)
    return found


async def partition_counts(bus: Bus, topics: Collection[str]) -> dict[str, int]:
    """Return how many partitions each topic has; raises TopicsMissing."""
    return {name: topic.partitions for name, topic in (await described(bus, topics)).items()}


async def partition_of(bus: Bus, topic: str, key: str) -> TopicPartition:
    """Return the partition of the topic that a key (a federation, or federation/instance_id) belongs to."""
    return TopicPartition(topic, key_partition(key, (await partition_counts(bus, (topic,)))[topic]))


async def poll(reader: Reader, timeout_s: float) -> list[Record]:
    """Return what is there; what cannot even be decoded is passed over, as the workers do."""
    try:
        return await reader.poll(timeout_s)
    except Corrupt as error:
        _log.warning("record.corrupt %s", error)
        reader.seek(error.partition, error.next_offset)
        return []


async def everything(
    bus: Bus, partitions: Collection[TopicPartition], between_ms: tuple[int, int] | None = None
) -> AsyncIterator[Record]:
    """Yield what is on the partitions, from their beginnings to the ends that they have now.

    ``between_ms``: only what was appended between two moments (Unix ms, broker time), both included. Raises
    Unavailable if it does not get there.
    """
    if between_ms is None:
        ends = await bus.end_offsets(partitions)
        beginnings = await bus.beginning_offsets(partitions)
    else:
        ends = await bus.offsets_at(partitions, between_ms[1] + 1)
        beginnings = await bus.offsets_at(partitions, between_ms[0])
    reader = await bus.reader(beginnings)
    try:
        loop = asyncio.get_running_loop()
        positions, moved_s = dict(beginnings), loop.time()
        while any(positions[partition] < ends[partition] for partition in partitions):
            for record in await poll(reader, POLL_S):
                if record.offset < ends[TopicPartition(record.topic, record.partition)]:
                    yield record
            before, positions = positions, {partition: reader.position(partition) for partition in partitions}
            if positions != before:
                moved_s = loop.time()
            elif loop.time() - moved_s > STALLED_S:
                raise Unavailable(
                    f"reading {', '.join(sorted({one.topic for one in partitions}))} does not go on"
                )
    finally:
        await reader.close()
