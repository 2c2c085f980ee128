"""The observer: rebuilt from the topics, kept current, and there again after the bus was away."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from convergence.errors import UnknownRound
from convergence.observation.observation import Observation
from convergence.observer import MAX_RECORDS, Observer, start
from schemas.partitioning import key_partition
from schemas.rounds import RoundKind
from tests.convergence.federation import new_settings
from tests.observation.live import FlakyBus, synchronized, working
from workers.catalogue import WORKERS
from workers.runtime.port import Message, TopicPartition
from workers.settings import Settings


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return new_settings(tmp_path, release_threshold=2, collection_deadline_ms=2_000)


@pytest.fixture
async def bus(settings: Settings) -> AsyncIterator[FlakyBus]:
    async with working(settings) as bus:
        yield bus


async def until(observer: Observer, holds: Callable[[], bool]) -> None:
    """Wait for the observer until something holds; the test's time-out limits it."""
    while not holds():
        await observer.changed(observer.version, 5)


async def test_it_sees_a_round_that_ends_while_it_watches(bus: FlakyBus, settings: Settings) -> None:
    async with Observer(bus, "default") as observer:
        await observer.current.wait()
        result = await synchronized(bus, settings)
        await until(observer, lambda: bool(observer.observation.rounds.synchronizations(1)))
        (seen,) = observer.observation.rounds.synchronizations(1)
    assert seen.convergence == result.global_convergence
    assert observer.snapshot().instances.total == 3


async def test_what_was_there_before_it_started_is_rebuilt(bus: FlakyBus, settings: Settings) -> None:
    await synchronized(bus, settings)
    async with Observer(bus, "default") as first:
        await first.current.wait()
    async with Observer(bus, "default") as second:
        await second.current.wait()
    assert first.observation.rounds.after(-1) == second.observation.rounds.after(-1)
    assert second.snapshot().explanation is not None
    assert [worker.worker for worker in second.snapshot().workers] == list(WORKERS)


async def test_a_past_round_is_explained_from_the_topics(bus: FlakyBus, settings: Settings) -> None:
    await synchronized(bus, settings)
    async with Observer(bus, "default") as observer:
        await observer.current.wait()
        explanation = await observer.explain(RoundKind.SYNCHRONIZATION, 1)
        with pytest.raises(UnknownRound):
            await observer.explain(RoundKind.SYNCHRONIZATION, 99)
    assert explanation.round_id == "default/synchronization/1"
    assert len(explanation.phases) == 5
    assert all(phase.duration_ms is not None for phase in explanation.phases)


async def test_while_the_bus_is_away_it_says_so_and_keeps_what_it_saw(
    bus: FlakyBus, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("convergence.observer.RETRY_S", 0.01)
    await synchronized(bus, settings)
    bus.away = True
    async with Observer(bus, "default") as observer:
        await until(observer, lambda: bool(observer.snapshot().workers))
        assert not observer.connected
        assert not observer.current.is_set()
        bus.away = False
        await until(observer, lambda: observer.connected)
        assert observer.snapshot().last is not None


async def test_of_a_long_history_only_the_end_is_read(bus: FlakyBus) -> None:
    topic = "flc.rounds.v1"
    at = TopicPartition(topic, key_partition("default", 6))
    producer = await bus.producer()
    await producer.send([Message(topic, at.partition, b"other/update/1", b"{}")] * 50)
    assert (await start(bus, "default"))[at] == 50 - MAX_RECORDS[topic]


async def test_a_defect_ends_it_instead_of_leaving_a_page_that_stands_still(
    bus: FlakyBus, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise KeyError("defect")

    await synchronized(bus, settings)
    monkeypatch.setattr(Observation, "take", fail)
    with pytest.raises(ExceptionGroup):
        async with Observer(bus, "default") as observer:
            await observer.current.wait()
