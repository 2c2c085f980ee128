"""What the workers would write: the other side of the client, in a few lines."""

from pathlib import Path
from typing import Any

from convergence.keys import Keys
from schemas import cloudevents, signing
from schemas.convergence import (
    ConvergenceUpdated,
    KnowledgeAnnounced,
    PublicInstanceScores,
    RoundEvent,
    SynchronizationAnnounced,
    SynchronizationCompleted,
)
from schemas.event import Event
from schemas.knowledge import AggregatedPattern, KnowledgeMark
from schemas.partitioning import key_partition
from schemas.rounds import Cover, RoundKind
from workers.fold import Record
from workers.runtime.memory import MemoryBus
from workers.runtime.port import Message, TopicDescription, TopicPartition
from workers.settings import Settings

PARTITIONS = 2
TOPICS = (
    "flc.instances.v1",
    "flc.heartbeats.v1",
    "flc.reports.v1",
    "flc.health.v1",
    "flc.commands.v1",
    "flc.rounds.v1",
    "flc.knowledge.v1",
    "flc.acknowledgements.v1",
    "flc.convergence.v1",
)
#: A day, as the topics have it.
TOMBSTONES_MS = 86_400_000


async def new_bus() -> MemoryBus:
    """Return a bus with the topics that the client knows."""
    bus = MemoryBus()
    configs = {"delete.retention.ms": str(TOMBSTONES_MS)}
    await bus.create([TopicDescription(name, PARTITIONS, 1, configs) for name in TOPICS])
    return bus


def new_settings(directory: Path, **changes: Any) -> Settings:
    """Return the settings of a deployment with the key files that it needs."""
    if not list(directory.glob("default.*.federation-key")):
        Keys(directory).new_federation("default")
    return Settings(keys_directory=directory, enrolment="open", **changes)


def operated(settings: Settings, keys: Keys) -> Settings:
    """Return settings in which the operator of ``keys`` enrols."""
    key = signing.public_key(keys.ensure_operator("default"))
    return settings.model_copy(update={"enrolment": "operator", "operator_keys": {"default": key}})


async def write(bus: MemoryBus, *events: Event, key: str | None = None, partition: int | None = None) -> None:
    """Write events as a worker does; the partition is the federation's unless it is given."""
    messages = []
    for number, event in enumerate(events):
        name = type(event).__name__
        at = key_partition(event.federation, PARTITIONS) if partition is None else partition
        headers = cloudevents.headers(f"{name}/{number}", name, "/flc/test/0", 1)
        messages.append(Message(event.topic, at, (key or event.federation).encode(), event.encode(), headers))
    producer = await bus.producer()
    await producer.send(messages)


async def withdraw(bus: MemoryBus, pattern_id: str, partition: int) -> None:
    """Write a tombstone on the knowledge."""
    producer = await bus.producer()
    await producer.send([Message("flc.knowledge.v1", partition, f"default/{pattern_id}".encode(), None)])


async def records(bus: MemoryBus, topic: str, at_least: int = 0) -> list[Record]:
    """Return everything on a topic, as soon as there are so many records (the test's time-out limits it)."""
    reader = await bus.reader({TopicPartition(topic, number): -2 for number in range(PARTITIONS)})
    found: list[Record] = await reader.poll(0)
    while len(found) < at_least:
        found += await reader.poll(1)
    return found


def result(
    number: int,
    *covers: Cover,
    part: int = 0,
    parts: int = 1,
    kind: RoundKind = RoundKind.UPDATE,
    **more: Any,
) -> RoundEvent:
    """Return the result of a round, or a part of it, with scores for the included instances."""
    fields: dict[str, Any] = {
        "federation": "default",
        "round_id": f"default/{kind}/{number}",
        "kind": kind,
        "number": number,
        "timestamp": 1,
        "part": part,
        "parts": parts,
        "global_convergence": 0.5,
        "pattern_alignment": 0.5,
        "global_emergence": 0.5,
        "convergence_variance": 0.0,
        "mean_convergence": 0.5,
        "weighted_mean_convergence": 0.5,
        "convergence_achieved": False,
        "criteria": (),
        "instance_count": 1,
        "patterns_aggregated": 1,
        "opened_at": 1,
        "instance_scores": tuple(scores(c.instance_id) for c in covers if c.outcome == "included"),
        "covers": covers,
    }
    if kind is RoundKind.UPDATE:
        return ConvergenceUpdated(**fields)
    fields |= {
        "commands": (),
        "convergence_score": 0.5,
        "instances_synced": 1,
        "stragglers": 0,
        "dropped": {},
        "patterns_emerged": 0,
        "acknowledged": 0,
        "sync_duration_ms": 1,
        "phase_duration_ms": {},
        "next_sync_window": None,
        "errors": (),
        "warnings": (),
    }
    return SynchronizationCompleted(**(fields | more))


def scores(instance_id: str) -> PublicInstanceScores:
    """Return some scores."""
    return PublicInstanceScores(
        instance_id=instance_id,
        convergence_score=0.5,
        emergence_score=0.5,
        resonance_score=0.5,
        unified_score=0.5,
        alignment=0.5,
        pattern_count=1,
    )


def cover(instance_id: str, sequence: int, outcome: str = "included") -> Cover:
    """Return a cover."""
    return Cover(instance_id=instance_id, sequence=sequence, outcome=outcome)


def pattern_id(digit: str) -> str:
    """Return a signature of one digit."""
    return digit * 32


def released(digit: str, number: int = 1) -> AggregatedPattern:
    """Return a released pattern."""
    return AggregatedPattern(
        federation="default",
        pattern_id=pattern_id(digit),
        pattern_type="behavioral",
        organisation_count=5,
        instance_count=5,
        total_frequency=8,
        average_strength=0.9,
        average_resonance=0.9,
        average_epistemic_certainty=0.9,
        consensus_score=0.9,
        round_id=f"default/synchronization/{number}",
        number=number,
        aggregated_at=1,
    )


async def release(bus: MemoryBus, digit: str, partition: int, number: int = 1) -> None:
    """Write a released pattern."""
    pattern = released(digit, number)
    await write(bus, pattern, key=f"default/{pattern.pattern_id}", partition=partition)


async def mark(bus: MemoryBus, partition: int, number: int, federation: str = "default") -> None:
    """Write the mark of a partition."""
    event = KnowledgeMark(
        federation=federation,
        round_id=f"{federation}/synchronization/{number}",
        number=number,
        bucket=partition,
        patterns=0,
    )
    await write(bus, event, key=f"mark/{federation}", partition=partition)


def announcement(
    kind: type[SynchronizationAnnounced | KnowledgeAnnounced], number: int = 1
) -> SynchronizationAnnounced | KnowledgeAnnounced:
    """Return what a synchronization announces."""
    return kind(
        federation="default",
        round_id=f"default/synchronization/{number}",
        kind=RoundKind.SYNCHRONIZATION,
        number=number,
        timestamp=1,
        deadline_ms=2,
    )
