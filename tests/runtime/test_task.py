"""A partition task: what it commits, what it throws away, what it takes over."""

import threading
from collections.abc import Sequence

import pytest

from tests.runtime.toys import (
    NUMBERS,
    RULES,
    SUMS,
    Adder,
    AdderState,
    Lazy,
    Ruled,
    World,
    failures,
    told,
    until,
)
from workers.fold import Record, Step
from workers.runtime import tenure
from workers.runtime.port import Fenced, Message, TopicPartition
from workers.runtime.position import POSITION_KEY, Position

FIRST = TopicPartition(NUMBERS, 0)


async def test_every_record_is_answered_once_and_in_order() -> None:
    world = World()
    async with world.running():
        world.say(1, 2, 3)
        await until(lambda: world.told() == [1, 3, 6])


async def test_records_from_before_the_first_start_are_read_from_the_earliest_offset() -> None:
    world = World()
    world.say(1, 2)
    async with world.running():
        await until(lambda: world.told() == [1, 3])


async def test_a_later_process_goes_on_from_the_state_and_position_of_the_changelog() -> None:
    world = World()
    async with world.running():
        world.say(1, 2)
        await until(lambda: world.told() == [1, 3])
    world.say(4)
    async with world.running():
        await until(lambda: world.told() == [1, 3, 7])


async def test_the_changelog_is_enough_after_its_compaction() -> None:
    world = World()
    async with world.running():
        world.say(1, 2)
        await until(lambda: world.told() == [1, 3])
    world.log.compact("flc.changelog.adder.v1")
    async with world.running():
        world.say(4)
        await until(lambda: world.told() == [1, 3, 7])


@pytest.mark.parametrize("moment", ["before_commit", "after_commit"])
async def test_a_failed_transaction_neither_loses_nor_repeats(moment: str) -> None:
    world = World()
    async with world.running():
        world.say(1)
        await until(lambda: world.told() == [1])
        # The fold has changed the state in place when the transaction fails: that state must not be used
        # again.
        setattr(world.bus.faults, moment, 2)
        world.say(2, 3)
        await until(lambda: world.told() == [1, 3, 6])
        world.say(4)
        await until(lambda: world.told() == [1, 3, 6, 10])
    assert getattr(world.bus.faults, moment) == 0


async def test_a_failed_tick_is_taken_again() -> None:
    world = World()
    async with world.running():
        world.say(5, "tick 1000")
        await until(
            lambda: len(world.changelog()) >= 3 and any(b"due" in (r.key or b"") for r in world.changelog())
        )
        world.bus.faults.before_commit = 1
        world.clock.advance(1.0)
        await until(lambda: world.told() == [5, 5])
    assert world.bus.faults.before_commit == 0


async def test_a_task_that_was_fenced_does_nothing_more_and_takes_over_again_only_later() -> None:
    world = World(partitions=1)
    async with world.running() as process:
        intruder = await world.bus.transactional_producer("flc.adder.0", 1_000)
        world.say(1)
        await until(lambda: failures(process, "Fenced") == 1)
        assert world.told() == []
        await until(lambda: world.told() == [1])
        with pytest.raises(Fenced):
            await intruder.transact([Message(SUMS, 0, None, b"{}")])


async def test_a_tick_comes_at_its_deadline_and_not_before() -> None:
    world = World()
    async with world.running():
        world.say(1, "tick 60000")
        await until(lambda: world.told() == [1])
        world.clock.advance(50.0)
        world.say(2)
        await until(lambda: world.told() == [1, 3])
        world.clock.advance(20.0)
        await until(lambda: world.told() == [1, 3, 3])


async def test_a_tick_that_is_overdue_waits_for_the_backlog() -> None:
    world = World()
    async with world.running():
        world.say("tick 1000")
        await until(lambda: any(b"due" in (record.key or b"") for record in world.changelog()))
    # Given 3,000 numbers that arrived while the worker was down, long over the deadline
    world.say(*[1] * 3_000)
    world.clock.advance(3600)
    async with world.running():
        await until(lambda: len(world.told()) == 3_001)
    assert world.told()[-1] == 3_000
    last = world.log.records(TopicPartition(SUMS, 0))[-1]
    assert dict(last.headers)["ce_id"].startswith(b"tick/")


async def test_a_rule_right_before_a_number_is_known_when_the_number_is_judged() -> None:
    world = World(partitions=1, workers=(Ruled,))
    async with world.running():
        for number in range(20):
            world.say(number, topic=RULES)
            world.say(number)
            await told(world, number + 1)
    assert world.told() == [1] * 20


async def test_many_rules_do_not_hold_up_the_numbers() -> None:
    world = World(partitions=1, workers=(Ruled,))
    world.say(*range(12_000), topic=RULES)
    world.say(11_999)
    async with world.running():
        await until(lambda: world.told() == [1])


async def test_outputs_are_cloudevents_of_the_task() -> None:
    world = World()
    async with world.running():
        world.say(1)
        await until(lambda: world.told() == [1])
    headers = dict(world.log.records(TopicPartition(SUMS, 0))[0].headers)
    assert headers["ce_source"] == b"/flc/adder/0"
    assert headers["ce_id"] == b"sum/0"
    assert headers["ce_type"] == b"Sum"


async def test_a_lazy_worker_folds_again_what_its_flushed_state_has_not_seen() -> None:
    world = World(workers=(Lazy,))
    async with world.running():
        world.say(*range(1, 50))
        await until(lambda: len(world.told()) == 49)
        world.say(50)
        await until(lambda: len(world.told()) == 50)
    position = _position(world, "lazy")
    assert position.covered[NUMBERS] < position.next[NUMBERS] == 50
    async with world.running():
        world.say(51)
        await until(lambda: len(world.told()) == 51)
    assert world.told()[-1] == sum(range(52))


class Keeping(Lazy):
    """Keeps all that it reads."""

    def step(self, state: AdderState, records: Sequence[Record]) -> Step:
        for record in records:
            state.due.put("toy", f"{record.offset:0400}", 1)
        return super().step(state, records)


@pytest.mark.parametrize("kind", [Lazy, Keeping])
async def test_a_lazy_worker_writes_less_state_than_a_fifth_of_its_input(kind: type[Lazy]) -> None:
    world = World(workers=(kind,))
    async with world.running():
        for number in range(40):
            world.say("1".rjust(100))
            await told(world, number + 1)
    state = sum(
        len(r.key or b"") + len(r.value or b"") for r in world.changelog("lazy") if r.key != POSITION_KEY
    )
    assert state <= 40 * 103 / 5 + 20


async def test_a_lazy_worker_flushes_behind_what_it_publishes() -> None:
    world = World(workers=(Lazy,))
    async with world.running():
        world.say(1)
        await told(world, 1)
        # Given more input since than five times the state, and nothing published
        world.say(*["tick " + "1".rjust(1_000, "0")] * 20)
        await until(lambda: _position(world, "lazy").next[NUMBERS] == 21)
        assert not _position(world, "lazy").flushed
        # When something is
        world.say(1)
        await told(world, 2)
        # Then the state is written with it
        assert _position(world, "lazy").flushed


async def test_a_lazy_worker_flushes_once_a_day_even_when_nothing_arrives() -> None:
    world = World(workers=(Lazy,))
    async with world.running():
        world.say(1)
        await until(lambda: len(world.told()) == 1)
        world.say(2)
        await until(lambda: len(world.told()) == 2)
        assert not _position(world, "lazy").flushed
        world.clock.advance(86_400)
        await until(lambda: _position(world, "lazy").flushed)


async def test_a_lazy_worker_whose_history_is_gone_ends_for_good_and_says_so() -> None:
    world = World(workers=(Lazy,))
    async with world.running():
        for number in (1, 2):
            world.say(number)
            await told(world, number)
    assert not _position(world, "lazy").flushed
    world.log.truncate(FIRST, 2)
    async with world.process() as process:
        await until(lambda: bool(process.info()["workers"]["lazy"]["ended"]))
        assert "offset 1 is needed" in process.info()["workers"]["lazy"]["ended"]["0"]
        assert not process.ready


async def test_a_worker_whose_input_was_made_anew_ends_for_good_and_names_what_it_was_to_read() -> None:
    world = World(workers=(Lazy,))
    position = Position({NUMBERS: 9}, {NUMBERS: 0})
    world.log.append(Message("flc.changelog.lazy.v1", 0, POSITION_KEY, position.encode()))
    async with world.process() as process:
        await until(lambda: bool(process.info()["workers"]["lazy"]["ended"]))
        ended = process.info()["workers"]["lazy"]["ended"]["0"]
    assert "offset 9 is needed, the log holds [0, 0)" in ended


async def test_a_restore_waits_for_a_transaction_that_is_still_open_in_the_changelog() -> None:
    world = World(partitions=1)
    world.log.own("stranger")
    transaction = world.log.begin("stranger", 1, 3_600_000)
    world.log.append(Message("flc.changelog.adder.v1", 0, b"sums\0toy\0", b"41"), transaction)
    async with world.process() as process:
        await until(lambda: process.info()["workers"]["adder"]["tasks"] == {"0": "restoring"})
        # When it is never decided, no restart helps
        world.clock.advance(60)
        await until(lambda: "hanging transaction" in process.info()["workers"]["adder"]["ended"].get("0", ""))


def _position(world: World, worker: str) -> Position:
    values = [record.value for record in world.changelog(worker) if record.key == POSITION_KEY]
    return Position.decode(values[-1] or b"")


@pytest.mark.parametrize(("bytes_on_the_loop", "in_a_thread"), [(1_000_000, False), (110, True)])
async def test_a_lazy_worker_goes_over_a_large_state_in_a_thread_and_over_a_small_one_at_once(
    monkeypatch: pytest.MonkeyPatch, bytes_on_the_loop: int, in_a_thread: bool
) -> None:
    monkeypatch.setattr(tenure, "THREAD_BYTES", bytes_on_the_loop)
    threads = []

    class Observed(Lazy):
        def step(self, state: AdderState, records: Sequence[Record]) -> Step:
            threads.append(threading.current_thread())
            return super().step(state, records)

    world = World(partitions=1, workers=(Observed,))
    async with world.running():
        for count in range(1, 11):  # each record is far below the limit
            world.say(f"{1:0100}")
            await until(lambda: len(world.told()) == count)  # noqa: B023  (called at once)
    assert any(thread is not threading.main_thread() for thread in threads) == in_a_thread


async def test_what_was_read_is_what_was_handled() -> None:
    world = World()
    async with world.running() as process:
        world.bus.faults.before_commit = 2
        world.say(*range(100))
        world.say(*range(100), partition=1)
        await until(lambda: len(world.told(0)) == len(world.told(1)) == 100)
        value = process.metrics.registry.get_sample_value
        where = {"worker": Adder.name, "topic": NUMBERS}
        assert value("flc_records_read_total", where) == 200
        assert value("flc_records_handled_total", {**where, "outcome": "accepted"}) == 200


async def test_who_leaves_a_partition_commits_what_it_has_read_so_that_nobody_reads_it_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tenure, "SILENT_S", 3_600.0)
    world = World(partitions=1)
    async with world.running() as process:
        world.say(1)
        await until(lambda: world.told() == [1])
        # Given a record that publishes nothing: it rides along with the next transaction
        world.say("tick 600000")
        where = {"worker": Adder.name, "topic": NUMBERS}
        value = process.metrics.registry.get_sample_value
        await until(lambda: value("flc_records_read_total", where) == 2)
        assert _position(world, Adder.name).next[NUMBERS] == 1
    assert _position(world, Adder.name).next[NUMBERS] == 2
