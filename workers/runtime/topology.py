"""The declared topics against those on the bus: what to create, what to change, what stops a worker.

Nothing is ever deleted, and the number of partitions is never changed: keys would move to other partitions,
and with them the order of an instance's records and the state of the workers.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from schemas.aggregation import RoundBarrier
from schemas.reports import PatternReport
from schemas.rounds import HandOver
from schemas.topics import APPEND_TIME, TIMESTAMP_TYPE, Topic
from workers.runtime.port import Bus, TopicDescription

_ADVICE = "see `flc topics diff`"

#: What a round is made of, and what it is recomputed from.
_AUDITED = (PatternReport.topic, RoundBarrier.topic, HandOver.topic)

_IN_SYNC = "min.insync.replicas"
_FOR_EVER = "-1"
_DAY_MS = 86_400_000


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
        configs = dict(topic.configs)
        if found.replication != topic.replication:
            refused.append(
                f"{topic.name} has {found.replication} replicas and {topic.replication} are declared: "
                "reassign its partitions with kafka-reassign-partitions"
            )
            if found.replication < int(configs.get(_IN_SYNC, 1)):
                # More replicas in sync than there are: from then on nobody could write.
                configs[_IN_SYNC] = found.configs.get(_IN_SYNC, "1")
        changes = {
            key: (found.configs.get(key), value)
            for key, value in configs.items()
            if found.configs.get(key) != value
        }
        if changes:
            update.append(Update(topic.name, configs, changes))
        else:
            unchanged.append(topic.name)
    return Plan(tuple(create), tuple(update), tuple(unchanged), tuple(refused))


async def apply(bus: Bus, plan: Plan) -> None:
    """Create and update; what is refused stays as it is. Raises BusError."""
    await bus.create(plan.create)
    for one in plan.update:
        await bus.configure(one.topic, one.configs)


def check(declared: Collection[Topic], live: Mapping[str, TopicDescription], keep_ms: int = 0) -> list[str]:
    """Return, as sentences, why a worker that touches ``declared`` must not start; empty if it may.

    ``keep_ms``: how long reports, contributions and rounds have to be there, the age that a report may have
    in a round and the time in which the round is audited.
    """
    problems = [*_layout(declared, live)]
    for topic in declared:
        if (found := live.get(topic.name)) is not None:
            problems += _durability(topic, found)
            problems += _retention(topic, found, keep_ms)
    return [f"{problem}; {_ADVICE}" for problem in problems]


def _layout(declared: Collection[Topic], live: Mapping[str, TopicDescription]) -> Iterator[str]:
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


def _durability(topic: Topic, found: TopicDescription) -> Iterator[str]:
    """Say what is acknowledged in fewer copies than is declared, or in more than there are, or given up."""
    if found.configs.get("unclean.leader.election.enable") == "true":
        yield f"the topic {topic.name} has unclean.leader.election.enable=true: what is acknowledged may go"
    in_sync = int(found.configs.get(_IN_SYNC, 1))
    wanted = int(topic.configs.get(_IN_SYNC, 1))
    if found.replication < topic.replication:
        yield f"the topic {topic.name} has {found.replication} replicas, {topic.replication} are declared"
    elif in_sync > found.replication:
        yield (
            f"the topic {topic.name} has min.insync.replicas={in_sync} and {found.replication} replicas: "
            "nothing can be written"
        )
    if in_sync < wanted:
        yield f"the topic {topic.name} has min.insync.replicas={in_sync}, {wanted} are declared"


def _retention(topic: Topic, found: TopicDescription, keep_ms: int) -> Iterator[str]:
    """Say what would be forgotten that is still needed: registrations, state, what an audit reads."""
    policy = topic.configs.get("cleanup.policy")
    live_policy = found.configs.get("cleanup.policy")
    if policy is not None and live_policy != policy:
        yield f"the topic {topic.name} has cleanup.policy={live_policy}, it must be {policy}"
    for_ever = topic.configs.get("retention.ms") == _FOR_EVER
    audited = topic.name in _AUDITED and keep_ms > 0
    if not (for_ever or audited):
        return
    kept = found.configs.get("retention.ms", _FOR_EVER)
    if kept != _FOR_EVER and for_ever:
        yield f"the topic {topic.name} has retention.ms={kept}, it must be {_FOR_EVER}: it is kept for ever"
    elif kept != _FOR_EVER and int(kept) < keep_ms:
        yield (
            f"the topic {topic.name} keeps {int(kept) / _DAY_MS:g} days, {keep_ms / _DAY_MS:g} are needed: "
            "FLC_REPORT_MAX_AGE_S and FLC_AUDIT_WINDOW_S together"
        )
    if (size := found.configs.get("retention.bytes", _FOR_EVER)) != _FOR_EVER:
        yield f"the topic {topic.name} has retention.bytes={size}, it must be {_FOR_EVER}: age alone decides"
