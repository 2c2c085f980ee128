"""The topics as ``topics.yaml`` declares them: names, partitions, configs, who writes and who reads."""

import difflib
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from schemas.catalogue import EVENTS

#: Every transaction of reports touches every bucket with a record: more would cost more than they spread.
MAX_BUCKETS = 16

#: Every topic is stamped by the broker.
TIMESTAMP_TYPE = "message.timestamp.type"
APPEND_TIME = "LogAppendTime"

#: The configs of a topic that Apache Kafka knows.
#: Source: https://kafka.apache.org/documentation/#topicconfigs
TOPIC_CONFIGS = frozenset(
    {
        "cleanup.policy",
        "compression.gzip.level",
        "compression.lz4.level",
        "compression.type",
        "compression.zstd.level",
        "delete.retention.ms",
        "file.delete.delay.ms",
        "flush.messages",
        "flush.ms",
        "follower.replication.throttled.replicas",
        "index.interval.bytes",
        "leader.replication.throttled.replicas",
        "local.retention.bytes",
        "local.retention.ms",
        "max.compaction.lag.ms",
        "max.message.bytes",
        "message.timestamp.after.max.ms",
        "message.timestamp.before.max.ms",
        "message.timestamp.type",
        "min.cleanable.dirty.ratio",
        "min.compaction.lag.ms",
        "min.insync.replicas",
        "preallocate",
        "remote.log.copy.disable",
        "remote.log.delete.on.disable",
        "remote.storage.enable",
        "retention.bytes",
        "retention.ms",
        "segment.bytes",
        "segment.index.bytes",
        "segment.jitter.ms",
        "segment.ms",
        "unclean.leader.election.enable",
    }
)

Group = Literal["instance", "federation", "bucket"]
Classification = Literal["raw", "filtered", "public"]
Partitions = Annotated[int, Field(ge=1)]
Configs = Mapping[str, str]


class TopicsInvalid(ValueError):  # noqa: N818
    """Raised when topics.yaml cannot be used; ``problems`` are sentences."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("topics.yaml: " + "; ".join(problems))
        self.problems = tuple(problems)


class _Declared(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")


class Defaults(_Declared):
    """What holds for every topic that does not say otherwise; also the overrides of an environment."""

    partitions: Partitions | None = None
    replication: Annotated[int, Field(ge=1)] | None = None
    configs: Configs = {}


class Declaration(_Declared):
    """A topic as it is written down, before defaults and environment."""

    name: Annotated[str, Field(pattern=r"^flc\.[a-z-]+\.v[1-9][0-9]*$")]
    description: str
    key: str | None
    group: Group
    partitions: Partitions | None = None
    replication: Annotated[int, Field(ge=1)] | None = None
    configs: Configs = {}
    events: Annotated[list[str], Field(min_length=1)]
    producers: Annotated[list[str], Field(min_length=1)]
    consumers: Annotated[list[str], Field(min_length=1)]
    classification: Classification


class Changelogs(_Declared):
    """How the changelog of a worker is declared; ``{worker}`` stands for its name."""

    name: Annotated[str, Field(pattern=r"^flc\.changelog\.\{worker\}\.v[1-9][0-9]*$")]
    description: str
    configs: Configs
    classification: Classification


class Declarations(_Declared):
    """The file."""

    defaults: Defaults
    environments: dict[str, Defaults] = {}
    topics: list[Declaration]
    changelogs: Changelogs


class Topic(_Declared):
    """A topic in one environment: everything is settled."""

    name: str
    description: str
    key: str | None
    #: None: a changelog.
    group: Group | None
    partitions: int
    replication: int
    configs: Configs
    events: tuple[str, ...]
    producers: tuple[str, ...]
    consumers: tuple[str, ...]
    classification: Classification


class Topics(_Declared):
    """All topics of one environment, by name; changelogs are derived per worker."""

    declared: dict[str, Topic]
    defaults: Defaults
    changelogs: Changelogs

    def __getitem__(self, name: str) -> Topic:
        return self.declared[name]

    def with_partitions(self, count: int) -> Self:
        """Return the same topics, each with ``count`` partitions."""
        changed = {
            name: topic.model_copy(update={"partitions": count}) for name, topic in self.declared.items()
        }
        return self.model_copy(update={"declared": changed})

    def changelog(self, worker: str, inputs: Sequence[str]) -> Topic:
        """Return the changelog of a worker, with the partitions of its inputs.

        Raises TopicsInvalid if the inputs are not partitioned alike.
        """
        counts = {self.declared[name].partitions for name in inputs}
        if len(counts) != 1:
            differ = f"the inputs of {worker} have different numbers of partitions: {sorted(counts)}"
            raise TopicsInvalid([differ])
        return Topic(
            name=self.changelogs.name.format(worker=worker),
            description=self.changelogs.description,
            key="table, federation, key",
            group=None,
            partitions=counts.pop(),
            replication=self.defaults.replication or 1,
            configs={**self.defaults.configs, **self.changelogs.configs},
            events=(),
            producers=(worker,),
            consumers=(worker,),
            classification=self.changelogs.classification,
        )

    def of_worker(self, worker: str, inputs: Sequence[str], outputs: Sequence[str]) -> tuple[Topic, ...]:
        """Return everything that a worker touches: inputs, outputs and its changelog."""
        names = dict.fromkeys((*inputs, *outputs))
        return (*(self.declared[name] for name in names), self.changelog(worker, inputs))


def path() -> Path:
    """Return where topics.yaml is: beside this module in a wheel, in the root of a checkout."""
    installed = Path(__file__).with_name("topics.yaml")
    return installed if installed.exists() else Path(__file__).parents[1] / "topics.yaml"


@lru_cache
def load(environment: str | None = None) -> Topics:
    """Return the topics of an environment (None: the defaults alone); raises TopicsInvalid."""
    return parse(path().read_text(encoding="utf-8"), environment)


def parse(text: str, environment: str | None = None) -> Topics:
    """Return the topics that ``text`` declares; raises TopicsInvalid with every problem at once."""
    try:
        declarations = Declarations.model_validate(yaml.safe_load(text))
    except yaml.YAMLError as error:
        raise TopicsInvalid([str(error)]) from error
    except ValidationError as error:
        raise TopicsInvalid([_sentence(one) for one in error.errors()]) from error
    if environment is not None and environment not in declarations.environments:
        known = list(declarations.environments)
        raise TopicsInvalid([f"no environment {environment}{_did_you_mean(environment, known)}"])
    overrides = declarations.environments[environment] if environment else Defaults()
    defaults = Defaults(
        partitions=overrides.partitions or declarations.defaults.partitions,
        replication=overrides.replication or declarations.defaults.replication,
        configs={**declarations.defaults.configs, **overrides.configs},
    )
    topics = [_settle(one, defaults) for one in declarations.topics]
    changelogs = declarations.changelogs
    problems = [*_lint(topics), *_lint_configs("changelogs", {**defaults.configs, **changelogs.configs})]
    if problems:
        raise TopicsInvalid(problems)
    return Topics(declared={one.name: one for one in topics}, defaults=defaults, changelogs=changelogs)


def _settle(declaration: Declaration, defaults: Defaults) -> Topic:
    return Topic(
        name=declaration.name,
        description=declaration.description,
        key=declaration.key,
        group=declaration.group,
        partitions=declaration.partitions or defaults.partitions or 1,
        replication=declaration.replication or defaults.replication or 1,
        configs={**defaults.configs, **declaration.configs},
        events=tuple(declaration.events),
        producers=tuple(declaration.producers),
        consumers=tuple(declaration.consumers),
        classification=declaration.classification,
    )


def _lint(topics: Sequence[Topic]) -> Iterator[str]:
    names = [topic.name for topic in topics]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield f"{name} is declared more than once"
    counts: dict[Group | None, set[int]] = defaultdict(set)
    for topic in topics:
        counts[topic.group].add(topic.partitions)
        yield from _lint_configs(topic.name, topic.configs)
        for event in topic.events:
            if event not in EVENTS:
                yield f"{topic.name}: no event {event}{_did_you_mean(event, list(EVENTS))}"
        if topic.group == "bucket" and topic.partitions > MAX_BUCKETS:
            yield f"{topic.name}: {topic.partitions} partitions, a bucket topic has at most {MAX_BUCKETS}"
    for group, different in counts.items():
        if len(different) > 1:
            yield f"the topics of group {group} have different numbers of partitions: {sorted(different)}"


def _lint_configs(name: str, configs: Configs) -> Iterator[str]:
    for key in configs:
        if key not in TOPIC_CONFIGS:
            yield f"{name}: no topic config {key}{_did_you_mean(key, sorted(TOPIC_CONFIGS))}"
    if configs.get(TIMESTAMP_TYPE) != APPEND_TIME:
        yield f"{name}: {TIMESTAMP_TYPE} must be {APPEND_TIME}"


def _sentence(error: Any) -> str:
    """Return a validation error in words, with a proposal for a misspelt key."""
    location: tuple[str | int, ...] = error["loc"]
    where = ".".join(str(part) for part in location) or "the file"
    if error["type"] == "extra_forbidden":
        return f"{where} is unknown{_did_you_mean(str(location[-1]), _keys_at(location[:-1]))}"
    if error["type"] == "string_type":
        return f"{where} must be a string: put {error['input']} in quotes"
    return f"{where}: {error['msg']}"


def _keys_at(location: Sequence[str | int]) -> list[str]:
    models: dict[str | int, type[BaseModel]] = {
        "defaults": Defaults,
        "environments": Defaults,
        "topics": Declaration,
        "changelogs": Changelogs,
    }
    model = models[location[0]] if location else Declarations
    return list(model.model_fields)


def _did_you_mean(word: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(word, known, n=1)
    return f"; did you mean {close[0]}?" if close else ""
