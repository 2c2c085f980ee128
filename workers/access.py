"""Who may do what on the cluster: the access list, derived from topics.yaml and from what a worker needs.

Everybody gets the least: a topic is written by its producers and read by its consumers, a worker has its own
consumer group, transactional ids and changelog, and nobody may delete. A broker cannot tell whose record it
is: an instance may write to its inbound topics for any instance, and its signature binds it to its own id.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from schemas.instances import InstanceRegistered
from schemas.topics import Topics
from workers.catalogue import WORKERS
from workers.settings import Settings

#: Roles besides the workers, under the names of topics.yaml. An instance publishes and subscribes, an analyst
#: subscribes only, and the operator enrols, watches and audits.
INSTANCE, ANALYST, OPERATOR = "instance", "analyst", "operator"

#: Who creates and updates the topics.
TOPICS_INIT = "topics-init"

ROLES = (*WORKERS, INSTANCE, ANALYST, OPERATOR, TOPICS_INIT)


class Resource(StrEnum):
    """What a grant is about, in the words of kafka-acls."""

    TOPIC = "topic"
    GROUP = "group"
    TRANSACTIONAL_ID = "transactional-id"


class Operation(StrEnum):
    """What is granted, in Kafka's words. Read and Write imply Describe."""

    READ = "Read"
    WRITE = "Write"
    CREATE = "Create"
    DESCRIBE = "Describe"
    DESCRIBE_CONFIGS = "DescribeConfigs"
    ALTER_CONFIGS = "AlterConfigs"


@dataclass(frozen=True, slots=True)
class Grant:
    """One thing that a role may do; ``prefixed``: with everything whose name begins with ``name``."""

    role: str
    resource: Resource
    name: str
    operations: tuple[Operation, ...]
    prefixed: bool = False

    def arguments(self, principal: str) -> list[str]:
        """Return the arguments with which kafka-acls gives it to ``principal`` (User:…)."""
        operations = [part for operation in self.operations for part in ("--operation", operation.value)]
        pattern = ["--resource-pattern-type", "prefixed"] if self.prefixed else []
        who = ["--add", "--allow-principal", principal]
        return [*who, *operations, f"--{self.resource}", self.name, *pattern]


def grants(topics: Topics, settings: Settings) -> Iterator[Grant]:
    """Yield what each role may do, role by role."""
    for role in ROLES:
        yield from _on_topics(role, topics, settings)
        if role in WORKERS:
            yield from _of_a_worker(role, topics, settings)
    yield from _of_the_operator(topics)
    setting_up = (Operation.CREATE, Operation.DESCRIBE, Operation.DESCRIBE_CONFIGS, Operation.ALTER_CONFIGS)
    yield Grant(TOPICS_INIT, Resource.TOPIC, "flc.", setting_up, prefixed=True)


def _on_topics(role: str, topics: Topics, settings: Settings) -> Iterator[Grant]:
    for topic in topics.declared.values():
        writes = role in topic.producers
        if role == INSTANCE and topic.name == InstanceRegistered.topic and settings.enrolment == "operator":
            writes = False  # the operator writes it there, and it reads with which key
        operations: list[Operation] = []
        if role in topic.consumers:
            operations.append(Operation.READ)
        if writes:
            operations.append(Operation.WRITE)
        if operations:
            # Everybody looks at how a topic is set up before relying on it.
            yield Grant(role, Resource.TOPIC, topic.name, (*operations, Operation.DESCRIBE_CONFIGS))


def _of_a_worker(worker: str, topics: Topics, settings: Settings) -> Iterator[Grant]:
    changelog = topics.changelogs.name.format(worker=worker)
    everything = (Operation.READ, Operation.WRITE, Operation.DESCRIBE_CONFIGS)
    yield Grant(worker, Resource.TOPIC, changelog, everything)
    yield Grant(worker, Resource.GROUP, worker, (Operation.READ,))
    prefix = f"{settings.transactional_id_prefix}.{worker}."
    yield Grant(worker, Resource.TRANSACTIONAL_ID, prefix, (Operation.WRITE,), prefixed=True)


def _of_the_operator(topics: Topics) -> Iterator[Grant]:
    changelogs = topics.changelogs.name.partition("{")[0]
    looking = (Operation.DESCRIBE, Operation.DESCRIBE_CONFIGS)
    yield Grant(OPERATOR, Resource.TOPIC, changelogs, looking, prefixed=True)
    for worker in WORKERS:
        yield Grant(OPERATOR, Resource.GROUP, worker, (Operation.DESCRIBE,))
