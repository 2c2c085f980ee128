"""What of an instance's last report was accepted, row by row: flc.contributions.v1 at its present end."""

from contextlib import suppress
from typing import Any

from convergence.events import read
from convergence.topics import everything, partition_counts
from schemas import columns
from schemas.reports import Contribution
from workers.runtime.port import Bus, TopicPartition


async def contributed(bus: Bus, federation: str, instance_id: str) -> list[dict[str, Any]]:
    """Return the rows of an instance, over all buckets, each with its report's sequence; values in [0, 1].

    There are none of an instance that left, and of one whose report is older than the topic is kept.
    """
    count = (await partition_counts(bus, (Contribution.topic,)))[Contribution.topic]
    last: dict[int, dict[str, Any]] = {}
    async for record in everything(bus, [TopicPartition(Contribution.topic, n) for n in range(count)]):
        # The id is looked for before anything is parsed: the topic holds the reports of everybody.
        if record.value is None or instance_id.encode() not in record.value:
            continue
        event = read(record, Contribution)
        if event is None or event.federation != federation:
            continue
        with suppress(ValueError):  # columns that do not fit: the aggregation worker has refused it, too
            for entry in columns.readable(event):
                if entry["instance_id"] == instance_id:
                    last[record.partition] = entry
    entries = [entry for _, entry in sorted(last.items())]
    return [{"sequence": entry["sequence"], **row} for entry in entries for row in entry["rows"]]
