"""Dead letters as they stand on the bus: where each refused record is, and why it was refused."""

from dataclasses import dataclass

from pydantic import ValidationError

from convergence.topics import everything, partition_counts
from schemas.dead_letters import DeadLetter
from schemas.reasons import Reason
from workers.fold import Record
from workers.runtime.port import Bus, TopicPartition


@dataclass(frozen=True, slots=True)
class Letter:
    """A dead letter and when it was written (Unix ms, broker time)."""

    said: DeadLetter
    written_ms: int

    @property
    def source(self) -> str:
        """Where the (first) record stands, topic/partition/offset: the id of the letter for people."""
        return f"{self.said.source_topic}/{self.said.source_partition}/{self.said.source_offset}"

    @property
    def origin(self) -> str:
        """Where the record stood before it was ever redriven."""
        return self.said.redriven_from or self.source


@dataclass(frozen=True, slots=True)
class Query:
    """Which letters are asked for; None: all. ``source``: those of one record, also of it redriven."""

    source: str | None = None
    reason: Reason | None = None
    topic: str | None = None
    federation: str | None = None
    since_ms: int | None = None

    def admits(self, letter: Letter) -> bool:
        """Tell whether the letter is asked for."""
        said = letter.said
        return (
            (self.source is None or self.source in (letter.source, letter.origin))
            and (self.reason is None or said.reason is self.reason)
            and (self.topic is None or said.source_topic == self.topic)
            and (self.federation is None or said.federation == self.federation)
            and (self.since_ms is None or letter.written_ms >= self.since_ms)
        )


async def list_letters(bus: Bus) -> list[Letter]:
    """Return all letters, the oldest first."""
    count = (await partition_counts(bus, (DeadLetter.topic,)))[DeadLetter.topic]
    partitions = [TopicPartition(DeadLetter.topic, number) for number in range(count)]
    found = [letter async for record in everything(bus, partitions) if (letter := _letter(record))]
    return sorted(found, key=lambda letter: (letter.written_ms, letter.source))


def _letter(record: Record) -> Letter | None:
    try:
        return Letter(DeadLetter.model_validate_json(record.value or b""), record.append_ms)
    except ValidationError:  # of a later version, or damage
        return None
