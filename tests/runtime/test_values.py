"""The small values of the runtime: time, positions, inboxes, crashes."""

import pytest

from tests.runtime.toys import MovableClock
from workers.fold import Record
from workers.runtime.clock import BrokerTime
from workers.runtime.crash import Crash, CrashPoint
from workers.runtime.deadline import Deadline
from workers.runtime.inbox import FULL_RECORDS, MAX_HOLES, Inbox, holes
from workers.runtime.port import Corrupt, TopicPartition
from workers.runtime.position import Position, Sizes


class StillClock(MovableClock):
    """A clock that stands still unless it is moved."""

    def monotonic(self) -> float:
        return self._ahead


def record(topic: str, offset: int, append_ms: int, value: bytes = b"") -> Record:
    return Record(topic, 0, offset, append_ms, None, value)


def test_broker_time_goes_on_from_the_largest_append_time() -> None:
    clock = StillClock()
    time = BrokerTime(clock)
    time.saw(1_000)
    clock.advance(2.0)
    time.saw(1_500)
    assert time.now_ms() == 3_000
    time.saw(9_000)
    assert time.now_ms() == 9_000


def test_a_deadline_expires_and_can_be_extended() -> None:
    clock = StillClock()
    deadline = Deadline(clock, 5.0)
    clock.advance(5.0)
    assert deadline.expired
    deadline.extend()
    clock.advance(4.0)
    assert not deadline.expired
    clock.advance(1.0)
    assert deadline.expired


def test_a_position_survives_its_record() -> None:
    position = Position({"a": 3}, {"a": 1}, 20, 5)
    assert Position.decode(position.encode()) == position


def test_a_flush_pays_when_the_input_passes_five_times_what_it_writes() -> None:
    position = Position({"a": 0}, {"a": 0}).flush(0).read({"a": 1}, 501)
    assert position.flush_pays(100)
    assert not position.flush_pays(101)
    assert not position.flush(0).flush_pays(0)


def test_a_flush_is_due_after_a_day() -> None:
    position = Position({"a": 0}, {"a": 0}).flush(0).read({"a": 1}, 501)
    assert not position.flush_is_due(86_399_999)
    assert position.flush_is_due(86_400_000)
    assert not position.flush(0).flush_is_due(86_400_000)


def test_sizes_follow_replaced_and_removed_keys() -> None:
    sizes = Sizes()
    sizes.put(b"k", b"12345")
    sizes.put(b"k", b"1")
    sizes.put(b"gone", b"1")
    sizes.put(b"gone", None)
    assert sizes.total == 2


def test_an_inbox_merges_topics_by_append_time_and_keeps_the_order_of_each() -> None:
    inbox = Inbox(("a", "b"))
    inbox.put("a", [record("a", 0, 10), record("a", 1, 30)])
    inbox.put("b", [record("b", 0, 20), record("b", 1, 5)])
    taken = inbox.take({"a": 9, "b": 9}, 100, 100)
    assert [(one.topic, one.offset) for one in taken] == [("a", 0), ("b", 0), ("b", 1), ("a", 1)]


def test_an_inbox_gives_no_more_than_it_is_asked_for_but_always_one() -> None:
    inbox = Inbox(("a",))
    inbox.put("a", [record("a", offset, 0, b"1234") for offset in range(4)])
    assert len(inbox.take({"a": 9}, 100, 1)) == 1
    assert len(inbox.take({"a": 9}, 100, 8)) == 2
    assert inbox.first_offset("a") == 3
    inbox.put("a", [record("a", 4, 0)] * FULL_RECORDS)
    assert inbox.full("a")


def test_of_a_corrupt_batch_of_many_millions_a_bounded_number_is_in_memory_at_once() -> None:
    found = holes(Corrupt(TopicPartition("a", 0), 7, "a bomb", 150_000_000))
    assert [found[0].offset, found[-1].offset] == [7, 6 + MAX_HOLES]
    assert len(holes(Corrupt(TopicPartition("a", 0), 7, "damaged", 9))) == 2
    assert len(holes(Corrupt(TopicPartition("a", 0), 7, "damaged in its length", 3))) == 1


def test_a_process_kills_itself_where_it_was_told_to(monkeypatch: pytest.MonkeyPatch) -> None:
    killed: list[int] = []
    monkeypatch.setattr("os.kill", lambda _pid, number: killed.append(number))
    crash = Crash.from_environment({"FLC_CRASH_AT": "privacy:after_publish:2"})
    crash.reached("privacy", CrashPoint.BEFORE_PUBLISH)
    crash.reached("health", CrashPoint.AFTER_PUBLISH)
    crash.reached("privacy", CrashPoint.AFTER_PUBLISH)
    assert killed == []
    crash.reached("privacy", CrashPoint.AFTER_PUBLISH)
    assert killed == [9]


def test_an_unknown_crash_point_is_refused() -> None:
    with pytest.raises(ValueError, match="nowhere"):
        Crash.from_environment({"FLC_CRASH_AT": "privacy:nowhere"})
