"""The access list on a real broker: everybody can do their part, and nothing else."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import orjson
import pytest

from convergence.deployment import Deployment
from convergence.keys import Keys
from convergence.operator import Operator
from convergence.patterns import Pattern
from convergence.subscription import subscribe
from schemas.convergence import SynchronizationCompleted
from schemas.signing import public_key
from schemas.topics import load
from tests.security.cluster import Cluster
from tests.security.conftest import flc
from workers.catalogue import WORKERS
from workers.runtime.kafka import KafkaBus
from workers.runtime.port import Consumer, Message, Refused, TopicPartition
from workers.runtime.supervisor import Process

TOPICS = (*load().declared, *(f"flc.changelog.{worker}.v1" for worker in WORKERS))
WRITTEN = {"flc.heartbeats.v1", "flc.reports.v1", "flc.commands.v1", "flc.acknowledgements.v1"}
PUBLIC = {"flc.knowledge.v1", "flc.convergence.v1"}
NAMES = ("berlin", "paris", "rome")
PATTERNS = tuple(
    Pattern(f"p{number}", "behavioral", 0.9, 0.9, 0.95, 3, (f"module{number}",)) for number in range(20)
)


async def ends(cluster: Cluster) -> dict[TopicPartition, int]:
    """Return where every topic ends, as who may see everything."""
    bus = KafkaBus(
        cluster.settings("", bootstrap_servers=cluster.open_address, security_protocol="PLAINTEXT")
    )
    try:
        return await bus.end_offsets([TopicPartition(topic, 0) for topic in TOPICS], committed=False)
    finally:
        await bus.close()


async def may_write(bus: KafkaBus, topic: str) -> bool:
    """Tell whether a record can be sent to a topic."""
    producer = await bus.producer()  # a new one each time: one that failed is dead
    try:
        await producer.send([Message(topic, 0, b"default/berlin", b"anything")])
    except Refused:
        return False
    else:
        return True
    finally:
        await producer.close()


async def may_read(bus: KafkaBus, topic: str) -> bool:
    """Tell whether a topic can be read from its beginning, the bodies of its records included."""
    at = TopicPartition(topic, 0)
    try:
        reader = await bus.reader({at: 0})
        try:
            await reader.poll(0.2)
        finally:
            await reader.close()
    except Refused:
        return False
    return True


async def test_an_instance_can_write_its_topics_and_nothing_else(cluster: Cluster) -> None:
    before = await ends(cluster)

    async with cluster.bus("flc-instance") as bus:
        written = {topic for topic in TOPICS if await may_write(bus, topic)}

    assert written == WRITTEN
    after = await ends(cluster)
    assert {at.topic for at in after if after[at] > before[at]} == WRITTEN


@pytest.mark.parametrize(
    ("user", "readable"),
    [
        ("flc-instance", PUBLIC | {"flc.instances.v1"}),
        ("flc-analyst", PUBLIC),
        ("flc-operator", set(load().declared)),
        ("flc-stranger", set()),
    ],
)
async def test_everybody_reads_what_is_theirs_to_read(
    cluster: Cluster, user: str, readable: set[str]
) -> None:
    async with cluster.bus(user) as bus:
        assert {topic for topic in TOPICS if await may_read(bus, topic)} == readable


@pytest.mark.parametrize("user", ["flc-analyst", "flc-stranger"])
async def test_who_may_write_nothing_gets_no_producer(cluster: Cluster, user: str) -> None:
    async with cluster.bus(user) as bus:
        with pytest.raises(Refused):
            await bus.producer()


@pytest.mark.parametrize("worker", WORKERS)
async def test_an_instance_cannot_join_the_group_of_a_worker_or_take_its_transactional_id(
    cluster: Cluster, worker: str
) -> None:
    await refused_what_belongs_to(worker, cluster, "flc-instance")


async def test_a_worker_cannot_pass_for_another_one(cluster: Cluster) -> None:
    await refused_what_belongs_to("privacy", cluster, "flc-verification")
    await refused_what_belongs_to("verification", cluster, "flc-privacy")


async def take_part(member: Consumer) -> None:
    """Poll until the broker says what it thinks of that."""
    async with asyncio.timeout(30):
        while True:
            await member.poll(0.5)


async def refused_what_belongs_to(worker: str, cluster: Cluster, user: str) -> None:
    async def nothing(_: object) -> None: ...

    async with cluster.bus(user) as bus:
        with pytest.raises(Refused):
            await bus.transactional_producer(f"flc.{worker}.0", 6_000)
        member = await bus.consumer(worker, ["flc.convergence.v1"], assigned=nothing, revoked=nothing)
        with pytest.raises(Refused):
            await take_part(member)


@asynccontextmanager
async def every_worker_under_its_own_name(cluster: Cluster, operator_key: str) -> AsyncIterator[None]:
    async with AsyncExitStack() as stack:
        for name, worker in WORKERS.items():
            more = {"operator_keys": {"default": operator_key}, "collection_deadline_ms": 5_000}
            bus = await stack.enter_async_context(cluster.bus(f"flc-{name}", **more, release_threshold=2))
            settings = cluster.settings(f"flc-{name}", **more, release_threshold=2)
            await stack.enter_async_context(Process(bus, [worker], settings))
        yield


async def test_a_round_from_end_to_end_with_everybody_under_a_name_of_their_own(
    cluster: Cluster, tmp_path: Path
) -> None:
    keys = Keys(tmp_path)
    keys.new_federation("default")
    operator_key = public_key(keys.ensure_operator("default"))
    more = {"keys_directory": tmp_path, "operator_keys": {"default": operator_key}}

    async with AsyncExitStack() as stack:
        await stack.enter_async_context(every_worker_under_its_own_name(cluster, operator_key))
        analyst = await stack.enter_async_context(cluster.bus("flc-analyst"))
        events = await stack.enter_async_context(subscribe(analyst, "default"))
        operating = await stack.enter_async_context(cluster.bus("flc-operator"))
        operator = await stack.enter_async_context(
            Operator(operating, cluster.settings("flc-operator", **more))
        )
        instances = await stack.enter_async_context(cluster.bus("flc-instance"))
        settings = cluster.settings("flc-instance", **more)
        deployments = [Deployment(instances, settings, name, f"{name}-corp") for name in NAMES]
        for deployment in deployments:
            await operator.enrol(deployment.document)
            await stack.enter_async_context(deployment)

        updates = await asyncio.gather(*(deployment.publish(PATTERNS, 60) for deployment in deployments))
        assert [update.cover.outcome for update in updates] == ["included"] * 3

        done = await operator.request_synchronization(timeout_s=90)
        assert isinstance(done, SynchronizationCompleted)
        assert (done.instances_synced, done.stragglers, done.acknowledged) == (3, 0, 3)
        assert [len(deployment.knowledge) for deployment in deployments] == [20, 20, 20]
        async with asyncio.timeout(30):
            while (event := await anext(events)) != done:
                assert event.federation == "default"

        await the_commands_work(cluster, tmp_path, operator_key)


async def the_commands_work(cluster: Cluster, directory: Path, operator_key: str) -> None:
    """Type what an operator and an analyst type, each signed in as such."""
    settings = {
        "FLC_KEYS_DIRECTORY": str(directory),
        "FLC_OPERATOR_KEYS": orjson.dumps({"default": operator_key}).decode(),
        "FLC_RELEASE_THRESHOLD": "2",
        "FLC_COLLECTION_DEADLINE_MS": "5000",
    }
    for user, *arguments in (
        ("flc-operator", "topics", "diff"),
        ("flc-operator", "instances", "list"),
        ("flc-operator", "instances", "show", "berlin"),
        ("flc-operator", "rounds", "list"),
        ("flc-operator", "lag", "--for", "0"),
        ("flc-operator", "dead-letters", "list"),
        ("flc-operator", "replay", "--all"),
        ("flc-operator", "watch", "--once", "--format", "json"),
        ("flc-analyst", "subscribe", "--from", "beginning", "--count", "1"),
    ):
        ended = await asyncio.to_thread(flc, cluster, user, *arguments, **settings)
        assert ended.returncode == 0, (arguments, ended.stdout, ended.stderr)
    assert "berlin" in (await asyncio.to_thread(flc, cluster, "flc-operator", "instances", "list")).stdout
    refused = await asyncio.to_thread(flc, cluster, "flc-analyst", "instances", "list")
    assert refused.returncode == 1
    assert refused.stderr.count("\n") == 1
