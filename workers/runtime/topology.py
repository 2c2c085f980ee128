"""The declared topics against those on the bus: what to create, what to change, what stops a worker.

Nothing is ever deleted, and the number of partitions is never changed: keys would move to other partitions,
and with them the order of an instance's records and the state of the workers.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from schemas.topics import APPEND_TIME, TIMESTAMP_TYPE, Topic
from workers.runtime.port import Bus, TopicDescription

_ADVICE = "see `flc topics diff`"


@dataclass(frozen=True, slots=True)
class Update:
    """The configs to be set on a topic, and those among them that change: key -> (live, declared)."""

    topic: str
    configs: Mapping[str, str]
    changes: Mapping[str, tuple[str | None, str]]


@dataclass(frozen=True, slots=True)
class Plan:
    """What brings the bus to the declaration."""

    create: tuple[TopicDescription, ...]
    update: tuple[Update, ...]
    unchanged: tuple[str, ...]
    #: Sentences: what is different and will not be touched.
    refused: tuple[str, ...]


def plan(declared: Collection[Topic], live: Mapping[str, TopicDescription]) -> Plan:
    """Return what brings ``live`` to ``declared``; a topic whose partitions differ is refused as a whole."""
    create: list[TopicDescription] = []
    update: list[Update] = []
    unchanged: list[str] = []
    refused: list[str] = []
    for topic in declared:
        found = live.get(topic.name)
        if found is None:
            create.append(TopicDescription(topic.name, topic.partitions, topic.replication, topic.configs))
            continue
        if found.partitions != topic.partitions:
            refused.append(
                f"{topic.name} has {found.partitions} partitions and {topic.partitions} are declared: "
                "keys would move; make a new major version of the topic"
            )
            continue
        if found.replication != topic.replication:
            refused.append(
                f"{topic.name} has {found.replication} replicas and {topic.replication} are declared: "
                "reassign its partitions with kafka-reassign-partitions"
            )
        changes = {
            key: (found.configs.get(key), value)
            for key, value in topic.configs.items()
            if found.configs.get(key) != value
        }
        if changes:
            update.append(Update(topic.name, topic.configs, changes))
        else:
            unchanged.append(topic.name)
    return Plan(tuple(create), tuple(update), tuple(unchanged), tuple(refused))


async def apply(bus: Bus, plan: Plan) -> None:
    """Create and update; what is refused stays as it is. Raises BusError."""
    await bus.create(plan.create)
    for one in plan.update:
        await bus.configure(one.topic, one.configs)


def check(declared: Collection[Topic], live: Mapping[str, TopicDescription]) -> list[str]:
    """Return, as sentences, why a worker that touches ``declared`` must not start; empty if it may."""
    return [f"{problem}; {_ADVICE}" for problem in _problems(declared, live)]


def _problems(declared: Collection[Topic], live: Mapping[str, TopicDescription]) -> Iterator[str]:
    first_of_group: dict[str, TopicDescription] = {}
    for topic in declared:
        found = live.get(topic.name)
        if found is None:
            yield f"the topic {topic.name} is missing: `flc topics apply` creates it"
            continue
        stamp = found.configs.get(TIMESTAMP_TYPE)
        if stamp != APPEND_TIME:
            yield f"the topic {topic.name} has {TIMESTAMP_TYPE}={stamp}, it must be {APPEND_TIME}"
        if found.partitions != topic.partitions:
            yield f"the topic {topic.name} has {found.partitions} partitions, {topic.partitions} are declared"
        if topic.group is None:
            continue
        first = first_of_group.setdefault(topic.group, found)
        if found.partitions != first.partitions:
            yield (
                f"the topics {first.name} and {topic.name} must have the same number of partitions, "
                f"they have {first.partitions} and {found.partitions}"
            )
