"""The client and all workers on one bus in memory: what the three people who use it do."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Literal

import pytest

from convergence.deployment import Deployment
from convergence.instances import list_instances
from convergence.keys import Keys
from convergence.operator import Operator
from convergence.patterns import Pattern
from convergence.rounds import list_rounds, show_round
from convergence.subscription import subscribe
from schemas import signing
from schemas.catalogue import EVENTS
from schemas.convergence import RoundAbandoned, SynchronizationCompleted
from schemas.event import Inbound
from schemas.health import Status
from schemas.topics import load
from tests.convergence.federation import new_settings, operated
from workers.catalogue import WORKERS
from workers.runtime import topology
from workers.runtime.memory import MemoryBus
from workers.runtime.port import Message
from workers.runtime.supervisor import Process
from workers.settings import Settings

NAMES = ("berlin", "paris", "rome")
PATTERNS = tuple(
    Pattern(f"p{number}", "behavioral", 0.9, 0.9, 0.95, 3, (f"module{number}",)) for number in range(20)
)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    made = new_settings(tmp_path, release_threshold=2, collection_deadline_ms=2_000)
    return operated(made, Keys(tmp_path))


@asynccontextmanager
async def running(settings: Settings) -> AsyncIterator[tuple[MemoryBus, Process]]:
    """Yield a bus with the declared topics, and the process of all workers that runs on it."""
    bus, topics = MemoryBus(), load()
    workers = tuple(WORKERS.values())
    changelogs = [topics.changelog(worker.name, worker.inputs) for worker in workers]
    await topology.apply(bus, topology.plan([*topics.declared.values(), *changelogs], {}))
    async with Process(bus, workers, settings) as process:
        yield bus, process


@pytest.fixture
async def bus(settings: Settings) -> AsyncIterator[MemoryBus]:
    async with running(settings) as (bus, _):
        yield bus


async def test_three_deployments_learn_together(bus: MemoryBus, settings: Settings) -> None:
    async with AsyncExitStack() as stack:
        operator = await stack.enter_async_context(Operator(bus, settings))
        events = await stack.enter_async_context(subscribe(bus, "default"))
        deployments = [Deployment(bus, settings, name, f"{name}-corp") for name in NAMES]
        for deployment in deployments:
            await operator.enrol(deployment.document)
            await stack.enter_async_context(deployment)

        updates = await asyncio.gather(*(deployment.publish(PATTERNS) for deployment in deployments))
        assert [update.cover.outcome for update in updates] == ["included"] * 3
        assert all(update.scores is not None for update in updates)

        done = await operator.request_synchronization()
        assert isinstance(done, SynchronizationCompleted)
        assert (done.instances_synced, done.stragglers, done.acknowledged) == (3, 0, 3)
        assert [len(deployment.knowledge) for deployment in deployments] == [20, 20, 20]
        while (event := await anext(events)).round_id != done.round_id or not hasattr(event, "covers"):
            pass
        assert event == done

        assert [health.instance_id for health in await list_instances(bus, "default")] == sorted(NAMES)
        assert done.round_id in [found.round_id for found in await list_rounds(bus, "default")]
        assert "DistributionCompleted" in (await show_round(bus, done.round_id)).hand_overs


async def test_a_rotated_key_counts_without_a_restart(bus: MemoryBus, settings: Settings) -> None:
    keys = Keys(settings.keys_directory)
    deployment = Deployment(bus, settings, "berlin", "acme")
    async with Operator(bus, settings) as operator:
        first = (await operator.enrol(deployment.document)).public_keys[0].key
        async with deployment:
            assert (await deployment.publish(PATTERNS)).included
            following = signing.public_key(keys.ensure_next_instance("default", "berlin"))
            await operator.rotate("berlin", following)
            await deployment.adopt_next_key()
            await operator.revoke("berlin", first)
            assert (await deployment.publish(PATTERNS[:5])).included


@pytest.mark.parametrize("enrolment", ["operator", "open"])
async def test_an_instance_may_ask_in_the_instant_after_its_registration(
    settings: Settings, enrolment: Literal["operator", "open"]
) -> None:
    settings = settings.model_copy(update={"enrolment": enrolment, "collection_deadline_ms": 100})
    async with running(settings) as (bus, process), Operator(bus, settings) as operator:
        deployment = Deployment(bus, settings, "berlin", "acme")
        if enrolment == "operator":
            await operator.enrol(deployment.document)
        async with deployment:
            answer = await deployment.request_synchronization()
        # One instance is below the quorum: that is the answer.
        assert isinstance(answer, RoundAbandoned)
        value = process.metrics.registry.get_sample_value
        of = {"federation": "default", "kind": "synchronization", "outcome": "abandoned"}
        assert value("flc_rounds_total", of) == 1
        statuses = [value("flc_instances", {"federation": "default", "status": each}) for each in Status]
        assert sum(each or 0 for each in statuses) == 1


async def test_garbage_between_the_workers_disturbs_nobody(settings: Settings) -> None:
    internal = {event.topic for event in EVENTS.values() if not issubclass(event, Inbound)}
    async with running(settings) as (bus, process), Operator(bus, settings) as operator:
        deployment = Deployment(bus, settings, "berlin", "acme")
        await operator.enrol(deployment.document)
        async with deployment:
            assert (await deployment.publish(PATTERNS)).included
            # Given somebody who may write where only workers should
            producer = await bus.producer()
            topics = await bus.describe(internal)
            messages = [
                Message(topic.name, partition, b"default/berlin", b"garbage")
                for topic in topics.values()
                for partition in range(topic.partitions)
            ]
            await producer.send(messages)
            # Then every round goes on as before
            assert (await deployment.publish(PATTERNS[:5])).included
            assert isinstance(await operator.request_synchronization(), RoundAbandoned)
    value = process.metrics.registry.get_sample_value
    refused = {
        name: value("flc_dead_letters_total", {"worker": name, "reason": "bad_headers"}) for name in WORKERS
    }
    assert refused.pop("privacy") == 0  # it reads what instances send, and nothing else
    assert all(refused.values())
