"""A process: groups, rebalances, failures of one task among others, start and drain."""

import asyncio
import threading
from collections.abc import Sequence
from contextlib import AsyncExitStack

import pytest

from schemas.dead_letters import DeadLetter
from schemas.topics import load
from tests.runtime.buses import HeldBus, LingeringBus, OwnGroupBus
from tests.runtime.toys import (
    NUMBERS,
    SUMS,
    Adder,
    AdderState,
    Lazy,
    Tolerant,
    World,
    failures,
    told,
    until,
)
from workers.catalogue import WORKERS
from workers.fold import Record, Step
from workers.runtime import group, inbox, tenure, topology
from workers.runtime.failures import Misconfigured
from workers.runtime.lifecycle import IllegalTransition, TaskState
from workers.runtime.memory import MemoryBus
from workers.runtime.memory_log import Fate, Transaction
from workers.runtime.port import Corrupt, Message, TopicPartition
from workers.runtime.supervisor import Process
from workers.settings import Settings


async def test_two_processes_share_the_partitions() -> None:
    world = World()
    async with world.running() as first, world.running(MemoryBus(world.log)) as second:
        await until(lambda: first.ready and len(_tasks(first)) == len(_tasks(second)) == 1)
        world.say(1)
        world.say(2, partition=1)
        await until(lambda: world.told(0) == [1] and world.told(1) == [2])


async def test_partitions_move_back_and_forth_without_a_loss_or_a_repetition() -> None:
    world = World()
    async with world.running() as first:
        for turn in range(5):
            async with world.running(MemoryBus(world.log)) as second:
                world.say(*[1] * 50)
                world.say(*[1] * 50, partition=1)
                await until(lambda: first.ready and second.ready and len(_tasks(second)) == 1)
                world.say(1)
            await told(world, 51 * (turn + 1))
        await until(lambda: len(world.told(1)) == 250)
    assert world.told(0) == list(range(1, 256))
    assert world.told(1) == list(range(1, 251))


async def test_a_parked_task_resumes_with_its_state_in_place() -> None:
    world = World()
    async with world.running() as first:
        world.say(1)
        await until(lambda: world.told() == [1])
        restores = _restores(first)
        async with world.running(MemoryBus(world.log)):
            await until(lambda: first.ready and set(_tasks(first)) == {"0"})
            world.say(2)
            await until(lambda: world.told() == [1, 3])
        assert _restores(first) == restores


async def test_a_task_that_fails_is_tried_again_while_its_siblings_go_on() -> None:
    world = World()
    async with world.running() as process:
        world.say("explode")
        await until(lambda: failures(process, "ValueError") >= 2)
        world.say(7, partition=1)
        await until(lambda: world.told(1) == [7])
        assert not process.ready
        assert process.live


async def test_a_process_waits_for_a_bus_that_is_away() -> None:
    world = World()
    world.bus.faults.away = True
    process = world.process()

    async def come_back() -> None:
        await asyncio.sleep(0)
        assert process.live
        assert not process.ready
        world.bus.faults.away = False

    returning = asyncio.create_task(come_back())
    async with process:
        await until(lambda: process.ready)
        world.say(1)
        await until(lambda: world.told() == [1])
    await returning


async def test_tasks_wait_for_a_bus_that_goes_away() -> None:
    world = World()
    async with world.running() as process:
        world.bus.faults.away = True
        world.bus.faults.after_commit = 1
        world.say(1)
        await until(lambda: failures(process, "Unavailable") >= 2)
        assert process.live
        world.bus.faults.away = False
        world.say(2)
        await until(lambda: world.told() == [1, 3])


async def test_a_missing_topic_is_named_at_the_start() -> None:
    world = World()
    del world.log.topics[SUMS]
    with pytest.raises(Misconfigured, match=SUMS):
        async with world.process():
            pass


async def test_a_worker_does_not_start_without_the_topic_of_its_dead_letters() -> None:
    declared, kind = load(), WORKERS["validation"]
    bus = MemoryBus()
    topics = declared.of_worker(kind.name, kind.inputs, kind.outputs)
    await topology.apply(bus, topology.plan(topics, {}))
    with pytest.raises(Misconfigured, match=f"the topic {DeadLetter.topic} is missing"):
        async with Process(bus, [kind], Settings()):
            pass
    await topology.apply(bus, topology.plan([declared[DeadLetter.topic]], {}))
    async with Process(bus, [kind], Settings()) as process:
        await until(lambda: process.ready)


async def test_the_drain_commits_the_batch_under_way_and_leaves_nothing_open() -> None:
    world = World()
    async with world.running():
        world.say(*[1] * 5_000)
        await until(lambda: bool(world.told()))
    told = world.told()
    assert told == list(range(1, len(told) + 1))
    partition = world.log.partition(TopicPartition(SUMS, 0))
    assert partition.stable == partition.end


async def test_run_returns_when_it_is_told_to() -> None:
    world = World()
    async with world.running() as process:
        stop = asyncio.Event()
        running = asyncio.create_task(process.run(stop))
        stop.set()
        async with asyncio.timeout(5):
            await running


async def test_the_lag_of_a_partition_just_taken_over_is_shown_within_moments() -> None:
    world = World()
    async with world.running() as process:
        await until(lambda: process.ready)
        assert _lag_series(process) == 0
        world.clock.advance(group.FIRST_OFFSETS_S)
        world.say(1)
        await until(lambda: _lag_series(process) == 2)


async def test_the_lag_of_a_partition_restored_late_is_shown_within_moments(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(group, "OFFSETS_EVERY_S", 1_000)
    world = World()
    transaction = _unfinished(world)
    async with world.process() as process:
        # Given a partition that still reads its changelog when the others are shown first
        await until(lambda: _tasks(process) == {"0": "restoring", "1": "running"})
        world.clock.advance(group.FIRST_OFFSETS_S)
        world.say(1, partition=1)
        await until(lambda: _lag_series(process) == 1)
        # When it has read it
        world.log.end(transaction, Fate.COMMITTED)
        await until(lambda: process.ready)
        # Then it is shown as soon
        world.clock.advance(group.FIRST_OFFSETS_S)
        world.say(1)
        await until(lambda: _lag_series(process) == 2)


async def test_the_lag_of_a_revoked_partition_is_not_shown() -> None:
    world = World()
    async with world.running() as process:
        world.clock.advance(10)
        world.say(1)
        world.say(1, partition=1)
        await until(lambda: _lag_series(process) == 2)
        async with world.running(MemoryBus(world.log)):
            await until(lambda: process.ready and len(_tasks(process)) == 1)
            world.clock.advance(10)
            world.say(1)
            world.say(1, partition=1)
            await until(lambda: _lag_series(process) == 1)


def test_a_closed_task_enters_no_other_state() -> None:
    for state in TaskState:
        with pytest.raises(IllegalTransition):
            TaskState.CLOSED.to(state)


def _tasks(process: Process, worker: str = Adder.name) -> dict[str, str]:
    tasks: dict[str, str] = process.info()["workers"][worker]["tasks"]
    return tasks


def _unfinished(world: World) -> Transaction:
    """Write 41 to the changelog of partition 0, in a transaction that holds up who reads it."""
    world.log.own("stranger")
    transaction = world.log.begin("stranger", 1, 3_600_000)
    world.log.append(Message("flc.changelog.adder.v1", 0, b"sums\0toy\0", b"41"), transaction)
    return transaction


def _restores(process: Process) -> float | None:
    return process.metrics.registry.get_sample_value(
        "flc_restore_duration_seconds_count", {"worker": Adder.name}
    )


def _lag_series(process: Process) -> int:
    return process.metrics.exposition().decode().count("\nflc_consumer_lag{")


async def test_two_owners_of_one_partition_never_answer_a_record_twice() -> None:
    world = World(partitions=1)
    # Given a process that was cut off and does not know that its partition is somebody else's
    async with world.running(), world.process(OwnGroupBus(world.log)) as zombie:
        for number in range(1, 41):
            world.say(1)
            await told(world, number)
        fenced = failures(zombie, "Fenced")
    assert world.told() == list(range(1, 41))
    assert fenced


async def test_a_task_revoked_in_the_middle_of_its_restore_finishes_it_and_parks() -> None:
    world = World(partitions=1)
    transaction = _unfinished(world)
    bus = HeldBus(world.log)
    async with world.process(bus) as process:
        await until(lambda: _tasks(process) == {"0": "restoring"})
        # When the partition is revoked before the changelog has been read
        await bus.revoke()
        world.log.end(transaction, Fate.COMMITTED)
        await until(lambda: _tasks(process) == {"0": "parked"})
        # Then it runs at once when the partition comes back
        await bus.assign()
        world.say(1)
        await until(lambda: world.told() == [42])


async def test_a_partition_assigned_while_the_member_leaves_is_not_taken_over() -> None:
    world = World(partitions=1)
    bus = LingeringBus(world.log)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(world.running(bus))
        # Given a member that is leaving, and closes its producers
        leaving = asyncio.create_task(stack.aclose())
        await bus.closing.wait()
        # When a rebalance that was under way ends
        await bus.assign()
        bus.let_go.set()
        await leaving
    # Then nobody who owns the partition by now has been fenced
    assert bus.producers == 1


async def test_a_batch_over_the_budget_of_a_revocation_ends_on_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(group, "REVOKE_BUDGET_S", 0.01)
    monkeypatch.setattr(tenure, "THREAD_BYTES", 0)
    stepping, release = threading.Event(), threading.Event()

    class Slow(Lazy):
        """Steps in a thread, and takes its time there."""

        name = "slow"

        def step(self, state: AdderState, records: Sequence[Record]) -> Step:
            stepping.set()
            release.wait(10)
            return super().step(state, records)

    world = World(partitions=1, workers=(Slow,))
    bus = HeldBus(world.log)
    async with world.running(bus) as process:
        world.say(1)
        await until(stepping.is_set)
        await bus.revoke()
        assert _tasks(process, "slow") == {"0": "draining"}
        release.set()
        await until(lambda: _tasks(process, "slow") == {"0": "parked"})
        await bus.assign()
        await until(lambda: world.told() == [1])


@pytest.mark.parametrize("holes_at_once", [inbox.MAX_HOLES, 1])
async def test_records_that_cannot_be_decoded_reach_the_fold_without_a_value(
    monkeypatch: pytest.MonkeyPatch, holes_at_once: int
) -> None:
    monkeypatch.setattr(inbox, "MAX_HOLES", holes_at_once)
    world = World(partitions=1, workers=(Tolerant,))
    bus = HeldBus(world.log)
    # Given a batch of two records whose bytes are damaged
    world.say(1, 2, 4)
    bus.corrupt = Corrupt(TopicPartition(NUMBERS, 0), 0, "damaged", 2)
    async with world.running(bus) as process:
        await until(lambda: world.told() == [4])
        value = process.metrics.registry.get_sample_value(
            "flc_records_handled_total", {"worker": "tolerant", "topic": NUMBERS, "outcome": "dead_lettered"}
        )
    assert value == 2
