"""What all partition tasks of a worker share, and what one needs of its dispatcher."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from workers.runtime.clock import Clock
from workers.runtime.crash import Crash
from workers.runtime.metrics import Metrics
from workers.runtime.port import Bus, TopicPartition
from workers.runtime.tracing import Tracing


class Feed(Protocol):
    """What a task needs of its dispatcher; nothing here waits."""

    def open(self, partition: int, offsets: Mapping[str, int]) -> None:
        """Fetch the partition number's topics from these offsets on."""

    def position(self, at: TopicPartition) -> int:
        """Return up to where a partition has been fetched."""

    def taken(self, partition: int) -> None:
        """Take note that the inbox has room again."""

    def progressed(self) -> None:
        """Take note that something moves."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What all tasks of a worker share."""

    bus: Bus
    clock: Clock
    metrics: Metrics
    crash: Crash
    feed: Feed
    tracing: Tracing
    #: Topic of the worker's changelog.
    changelog: str
    transactional_id_prefix: str
    #: How long an open transaction lives at the broker.
    transaction_timeout_ms: int

    def transactional_id(self, worker: str, partition: int) -> str:
        """Return the id by which a task owns its partition; stable, for it is what fences (never random)."""
        return f"{self.transactional_id_prefix}.{worker}.{partition}"
