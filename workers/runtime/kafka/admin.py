"""Topics on the cluster: create, describe, configure."""

import asyncio
from collections.abc import Collection, Mapping
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment
from aiokafka.errors import for_code

from workers.runtime.kafka.connection import REQUEST_LIMIT_S, arguments, end, starting, within
from workers.runtime.port import BusError, Commit, GroupDescription, TopicDescription, TopicPartition
from workers.settings import Settings

_TOPIC_EXISTS = 36
_SET_ON_TOPIC = 1  # DYNAMIC_TOPIC_CONFIG, a source of a config in DescribeConfigs
_VISIBLE_POLL_S = 0.05


class Admin:
    """The administrative client of a bus."""

    def __init__(self, client: AIOKafkaAdminClient) -> None:
        self._client = client

    @classmethod
    async def start(cls, settings: Settings) -> "Admin":
        """Return a started client; raises Unavailable."""
        client = AIOKafkaAdminClient(**arguments(settings))
        try:
            async with starting(settings):
                await client.start()
        except BaseException:
            await end(client.close)
            raise
        return cls(client)

    async def create(self, topics: Collection[TopicDescription]) -> None:
        """Create topics and wait until they are usable; one that exists is left as it is. Raises BusError."""
        if not topics:
            return
        wanted = [
            NewTopic(topic.name, topic.partitions, topic.replication, topic_configs=dict(topic.configs))
            for topic in topics
        ]
        async with within(REQUEST_LIMIT_S, "creating topics"):
            response = await self._client.create_topics(wanted)  # answers with codes, never raises them
        refused = [
            f"{name}: {message or for_code(code).__name__}"
            for name, code, message in response.topic_errors
            if code not in (0, _TOPIC_EXISTS)
        ]
        if refused:
            raise BusError("topics were refused: " + "; ".join(refused))
        names = {topic.name for topic in topics}
        async with within(REQUEST_LIMIT_S, "waiting for the new topics"):
            while not names <= (await self._layout()).keys():  # noqa: ASYNC110  (no broker tells)
                await asyncio.sleep(_VISIBLE_POLL_S)

    async def describe(self, topics: Collection[str]) -> dict[str, TopicDescription]:
        """Return the topics that exist, with their effective configs; raises Unavailable or BusError."""
        async with within(REQUEST_LIMIT_S, "describing topics"):
            layout = await self._layout()
            names = sorted(layout.keys() & set(topics))
            effective = await self._configs(names) if names else {}
        return {
            name: TopicDescription(
                name, *layout[name], {key: value for key, (value, _) in effective[name].items()}
            )
            for name in names
        }

    async def configure(self, topic: str, configs: Mapping[str, str]) -> None:
        """Set configs of a topic; what else is set on it stays. Raises BusError with the broker's words."""
        async with within(REQUEST_LIMIT_S, f"configuring {topic}"):
            # The request replaces everything that is set on the topic, what somebody set by hand included.
            found = (await self._configs([topic]))[topic]
            kept = {key: value for key, (value, source) in found.items() if source == _SET_ON_TOPIC}
            resource = ConfigResource(ConfigResourceType.TOPIC, topic, {**kept, **configs})
            for response in await self._client.alter_configs([resource]):
                for code, message, _, name in response.resources:
                    _raise_for(code, message, name)

    async def group(self, name: str) -> GroupDescription:
        """Return what the members of a group own, and its commits; raises Unavailable or BusError."""
        async with within(REQUEST_LIMIT_S, f"describing the group {name}"):
            described, offsets = await asyncio.gather(
                self._client.describe_consumer_groups([name]), self._client.list_consumer_group_offsets(name)
            )
        members: dict[str, frozenset[TopicPartition]] = {}
        for response in described:
            for group in response.groups:
                members |= {member[0]: _owned(member[4]) for member in group[5]}
        commits = {
            TopicPartition(*at): Commit(offset, int(metadata) if metadata.isdecimal() else None)
            for at, (offset, metadata) in offsets.items()
            if offset >= 0
        }
        return GroupDescription(members, commits)

    async def _configs(self, topics: Collection[str]) -> dict[str, dict[str, tuple[str, int]]]:
        """Return of each topic the configs in effect: key -> (value, where it is set)."""
        configs: dict[str, dict[str, tuple[str, int]]] = {}
        resources = [ConfigResource(ConfigResourceType.TOPIC, name) for name in topics]
        for response in await self._client.describe_configs(resources):
            for code, message, _, name, entries in response.resources:
                _raise_for(code, message, name)
                configs[name] = {
                    key: (value, source) for key, value, _, source, *_ in entries if value is not None
                }
        return configs

    async def _layout(self) -> dict[str, tuple[int, int]]:
        """Return (partitions, replication) of every topic all of whose partitions have a leader."""
        # All topics are asked for, never one by name: that could create it.
        described: list[dict[str, Any]] = await self._client.describe_topics()
        return {
            topic["topic"]: (len(partitions), len(partitions[0]["replicas"]))
            for topic in described
            if (partitions := topic["partitions"]) and all(one["leader"] >= 0 for one in partitions)
        }

    async def close(self) -> None:
        """Release the connection; never hangs."""
        await end(self._client.close)


def _owned(assignment: bytes) -> frozenset[TopicPartition]:
    """Return the partitions in a member's assignment; it is empty while the group rebalances."""
    if not assignment:
        return frozenset()
    decoded = ConsumerProtocolMemberAssignment.decode(assignment)
    return frozenset(TopicPartition(*one) for one in decoded.partitions())


def _raise_for(code: int, message: str | None, name: str) -> None:
    if code:
        raise BusError(f"{name}: {message or for_code(code).__name__}")
