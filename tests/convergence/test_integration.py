"""The integration: the documented code, in memory and on Kafka."""

import asyncio
import gc
import logging
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from convergence import (
    ConvergenceError,
    FederatedConvergenceIntegration,
    FederatedLearningConvergence,
    GlobalScoringAggregator,
    LearningSynchronizationProtocol,
    NotRegistered,
    PatternError,
    get_federated_convergence_integration,
)
from convergence.keys import Keys
from convergence.sequence import now_ms
from schemas.convergence import RoundEvent, SynchronizationCompleted
from schemas.topics import load
from tests.convergence.test_federated_learning import pattern
from workers.catalogue import WORKERS
from workers.runtime import topology
from workers.runtime.kafka import KafkaBus
from workers.runtime.memory import MemoryBus
from workers.settings import Settings

NAMES = ("berlin", "paris", "rome")


def in_memory(**options: Any) -> FederatedConvergenceIntegration:
    settings = Settings(_env_file=None, bootstrap_servers=None)
    return FederatedConvergenceIntegration(**({"settings": settings} | options))


def patterns_of(name: str) -> list[dict[str, Any]]:
    """Return patterns that all share, in strengths of their own, one that nobody shares, and a weak one."""
    own = NAMES.index(name)
    return [
        *(pattern(place, strength=0.8 + 0.03 * ((place + own) % 4)) for place in range(12)),
        pattern(100 + own),
        pattern(200, epistemic_certainty=0.5),
    ]


def without_time(result: dict[str, Any]) -> dict[str, Any]:
    times = {"timestamp", "next_sync_window", "sync_duration_ms"}
    kept = {name: value for name, value in result.items() if name not in times}
    if "instance_scores" in kept:
        kept["instance_scores"] = [without_time(scores) for scores in kept["instance_scores"]]
    return kept


async def documented(integration: FederatedConvergenceIntegration) -> list[dict[str, Any]]:
    """Run the code of the documentation; return what it gives."""
    given: list[dict[str, Any]] = []
    for name in NAMES:
        await integration.register_instance(name, name.title(), "eu-central-1", {"tier": 1})
        given.append((await integration.update_instance_convergence(name, patterns_of(name))).to_dict())
    given.append(await integration.synchronize_all_instances())
    score = await integration.get_global_convergence_score()
    assert score is not None
    given.append(score.to_dict())
    return [without_time(each) for each in given]


@asynccontextmanager
async def on_kafka(broker: str, directory: Path) -> AsyncIterator[Settings]:
    """Run all workers in a process of their own; yield the settings of a deployment."""
    settings = Settings(
        _env_file=None,
        bootstrap_servers=broker,
        federation=f"api-{directory.name.replace('_', '-')}"[:60],
        enrolment="open",
        keys_directory=directory,
        wait_timeout_s=90,
    )
    topics = load()
    changelogs = [topics.changelog(name, worker.inputs) for name, worker in WORKERS.items()]
    every = [*topics.declared.values(), *changelogs]
    bus = KafkaBus(settings)
    await topology.apply(bus, topology.plan(every, await bus.describe([one.name for one in every])))
    await bus.close()
    workers = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        "from flc.main import main; main()",
        "worker",
        "run",
        "--all",
        stderr=asyncio.subprocess.DEVNULL,
        env={
            **os.environ,
            "PYTHONPATH": str(Path(__file__).parents[2]),
            "KAFKA_BOOTSTRAP_SERVERS": broker,
            "FLC_ENROLMENT": "open",
            "FLC_HTTP_PORT": "0",
        },
    )
    try:
        yield settings
    finally:
        workers.terminate()  # who leaves its groups keeps nobody waiting for them
        await workers.wait()


async def test_the_same_code_gives_the_same_numbers_in_memory_and_on_kafka(
    broker: str, tmp_path: Path
) -> None:
    async with in_memory() as integration:
        expected = await documented(integration)
    async with (
        on_kafka(broker, tmp_path) as settings,
        FederatedConvergenceIntegration(settings=settings) as integration,
    ):
        assert await documented(integration) == expected
        assert Keys(tmp_path).federation(settings.federation).epoch == 0
    async with FederatedConvergenceIntegration(settings=settings) as later:
        score = await later.get_global_convergence_score()  # the last one is still on the bus
        assert score is not None
        assert without_time(score.to_dict()) == expected[-1]
        assert later.get_stats()["sync_protocol_stats"]["total_syncs"] == 0
    gc.collect()  # whatever was forgotten would warn, and warnings are errors here


async def test_the_numbers_are_those_of_the_classes_with_public_precision() -> None:
    learning = FederatedLearningConvergence()
    results = []
    for name in NAMES:
        learning.register_instance(name, name, "eu")
        results.append(await learning.aggregate_learning(name, patterns_of(name)))
    protocol = LearningSynchronizationProtocol(learning, GlobalScoringAggregator())
    synchronized = await protocol.synchronize_learning()
    async with in_memory() as integration:
        *updates, synchronization, score = await documented(integration)
    for exact, public in zip(results, updates, strict=True):
        assert public["convergence_score"] == pytest.approx(exact.convergence_score, abs=0.0051)
        assert public["pattern_alignment"] == pytest.approx(exact.pattern_alignment, abs=0.000051)
        assert public["patterns_aggregated"] == exact.patterns_aggregated
        assert public["metadata"] == exact.metadata
    assert synchronization["convergence_score"] == pytest.approx(synchronized.convergence_score, abs=0.000051)
    assert synchronization["instances_synced"] == synchronized.instances_synced
    assert score["global_convergence"] == synchronization["convergence_score"]
    assert [scores["instance_id"] for scores in score["instance_scores"]] == sorted(NAMES)


async def test_before_any_result_there_is_no_score() -> None:
    async with in_memory() as integration:
        assert await integration.get_global_convergence_score() is None


async def test_everything_is_closed_with_the_block() -> None:
    before = asyncio.all_tasks()
    async with in_memory() as integration:
        integration.start_auto_sync()
        await integration.register_instance("berlin", "Berlin", "eu")
        await integration.update_instance_convergence("berlin", [pattern()])
    assert asyncio.all_tasks() == before
    gc.collect()  # whatever was forgotten would warn, and warnings are errors here


def test_in_a_script_that_closes_nothing_nothing_is_left(caplog: pytest.LogCaptureFixture) -> None:
    integration = in_memory()

    async def script() -> int:
        await integration.register_instance("berlin", "Berlin", "eu")
        result = await integration.update_instance_convergence("berlin", [pattern()])
        return result.instances_contributing

    with caplog.at_level(logging.WARNING):
        assert [asyncio.run(script(), debug=True) for _ in range(2)] == [1, 1]
    gc.collect()
    assert [record.getMessage() for record in caplog.records if record.name != "asyncio"] == []
    assert not [record for record in caplog.records if "never" in record.getMessage()]


async def test_several_in_one_process_do_not_disturb_one_another() -> None:
    async with in_memory() as one, in_memory() as other:
        for integration in (one, other):
            await integration.register_instance("berlin", "Berlin", "eu")
        await other.update_instance_convergence("berlin", [pattern(1)])
        assert await one.get_global_convergence_score() is None
        result = await one.update_instance_convergence("berlin", [pattern(1), pattern(2)])
        assert result.instances_contributing == 1


async def test_a_log_that_was_cleaned_still_serves() -> None:
    async with in_memory() as integration:
        for name in NAMES:
            await integration.register_instance(name, name, "eu")
            await integration.update_instance_convergence(name, [pattern(1)])
        session = integration._keeper.current
        assert session is not None
        assert isinstance(session._bus, MemoryBus)
        log = session._bus.log
        real_ms, log.now_ms = log.now_ms, lambda: now_ms() + 3 * 3_600_000
        log.clean()
        log.now_ms = real_ms
        await integration.register_instance("oslo", "oslo", "eu")
        assert (
            await integration.update_instance_convergence("oslo", [pattern(1)])
        ).instances_contributing == 4
        assert (await integration.synchronize_all_instances())["instances_synced"] == 4


async def test_closing_while_it_opens_is_told_to_who_waits() -> None:
    integration = in_memory()
    waiting = asyncio.create_task(integration.register_instance("berlin", "Berlin", "eu"))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    await integration.close()
    with pytest.raises(ConvergenceError, match="closed meanwhile"):
        await waiting
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_below_the_quorum_the_result_says_so() -> None:
    async with in_memory(settings=Settings(_env_file=None, collection_deadline_ms=50)) as integration:
        await integration.register_instance("berlin", "Berlin", "eu")
        await integration.update_instance_convergence("berlin", [pattern()])
        result = await integration.synchronize_all_instances(timedelta(minutes=1))
        assert result["errors"] == ["below_quorum: 1 of 2 instances"]
        assert integration.get_stats()["sync_protocol_stats"] == {
            "total_syncs": 1,
            "successful_syncs": 0,
            "failed_syncs": 1,
            "total_patterns_synced": 0,
        }


async def test_nobody_can_ask_where_nobody_is_registered() -> None:
    async with in_memory() as integration:
        result = await integration.synchronize_all_instances()
        assert result["errors"] == ["no instance is registered here that could ask"]


async def test_a_wrong_call_raises_before_anything_is_published() -> None:
    async with in_memory() as integration:
        with pytest.raises(NotRegistered, match="Instance berlin not registered"):
            await integration.update_instance_convergence("berlin", [pattern()])
        await integration.register_instance("berlin", "Berlin", "eu")
        with pytest.raises(PatternError, match="pattern 1: strength"):
            await integration.update_instance_convergence("berlin", [pattern(), pattern(strength=2)])
        assert await integration.get_global_convergence_score() is None
        assert integration.federated_learning.get_stats()["total_patterns_received"] == 0


async def test_what_the_gates_filter_is_counted() -> None:
    async with in_memory() as integration:
        await integration.register_instance("berlin", "Berlin", "eu")
        given = [pattern(1), pattern(2, epistemic_certainty=0.5)]
        result = await integration.update_instance_convergence("berlin", given)
        assert result.metadata["filtered"] == {"low_certainty": 1}
        nothing = await integration.update_instance_convergence("berlin", given[1:])
        assert (nothing.metadata["outcome"], nothing.convergence_score) == ("no_patterns", 0.0)


async def test_what_five_organisations_share_is_in_the_library_of_the_process() -> None:
    async with in_memory() as integration:
        for name in "abcde":
            await integration.register_instance(name, name, "eu")
            await integration.update_instance_convergence(name, [pattern(1), pattern(ord(name))])
        await integration.synchronize_all_instances()
        (released,) = integration.federated_learning.get_global_pattern_library().values()
        assert (released.instance_count, released.total_frequency) == (5, 32)
        assert released.contributing_instances == []


async def test_registering_again_with_something_new_registers_anew() -> None:
    async with in_memory() as integration:
        for region in ("eu", "eu", "us"):
            await integration.register_instance("berlin", "Berlin", region)
        result = await integration.update_instance_convergence("berlin", [pattern()])
        assert result.metadata["outcome"] == "included"


class Listener:
    """An orchestrator that lets a test wait for what it is told."""

    def __init__(self) -> None:
        self.events: asyncio.Queue[RoundEvent] = asyncio.Queue()

    async def on_convergence(self, event: RoundEvent) -> None:
        self.events.put_nowait(event)

    async def synchronized(self) -> SynchronizationCompleted:
        while not isinstance(event := await self.events.get(), SynchronizationCompleted):
            pass
        return event


async def test_the_schedule_asks_until_it_is_stopped() -> None:
    listener = Listener()
    window = timedelta(milliseconds=50)
    async with in_memory(sync_window=window, orchestrators=[listener]) as integration:
        for name in NAMES[:2]:
            await integration.register_instance(name, name, "eu")
            await integration.update_instance_convergence(name, [pattern()])
        integration.start_auto_sync()
        integration.start_auto_sync()  # once is enough
        first, second = await listener.synchronized(), await listener.synchronized()
        assert second.number == first.number + 1
        integration.stop_auto_sync()
        assert integration.get_stats()["sync_triggers"] >= 2
        result = await integration.synchronize_all_instances()
        due = datetime.fromisoformat(result["next_sync_window"])
        assert due - datetime.fromisoformat(result["timestamp"]) == timedelta(milliseconds=50)
        assert due.tzinfo == UTC


async def test_a_schedule_that_is_off_is_not_started() -> None:
    async with in_memory(auto_sync=False, sync_window=timedelta(milliseconds=1)) as integration:
        before = asyncio.all_tasks()
        integration.start_auto_sync()
        assert asyncio.all_tasks() == before


def test_the_singleton_is_always_the_same() -> None:
    integration = get_federated_convergence_integration()
    assert integration is get_federated_convergence_integration()
    assert integration.sync_window == timedelta(hours=1)
    assert integration.auto_sync
    assert set(integration.get_stats()) == {
        "orchestrator_integrations",
        "convergence_updates",
        "sync_triggers",
        "federated_learning_stats",
        "global_scoring_stats",
        "sync_protocol_stats",
    }
