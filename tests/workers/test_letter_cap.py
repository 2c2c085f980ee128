"""A flood of what is refused makes no flood of dead letters."""

from typing import Any

import pytest

from schemas import cloudevents
from schemas.dead_letters import DeadLetter
from schemas.reasons import Reason
from schemas.reports import Contribution
from tests.deployments import NOW_MS, Instance, context
from workers.aggregation import Aggregation
from workers.fold import Record, State, Step, Worker
from workers.health import TICK_MS, Health
from workers.letter_cap import LETTERS_A_MINUTE, capped
from workers.privacy import Privacy

MINUTE_MS = 60_000
BEYOND = 7


def letters(step: Step) -> list[DeadLetter]:
    return [emit.event for emit in step.emits if isinstance(emit.event, DeadLetter)]


def started() -> tuple[Worker[Any], State]:
    worker = capped(Privacy)(context())
    return worker, worker.state()


def flood(sender: Instance, count: int, at_ms: int = NOW_MS) -> list[Record]:
    """Return reports of somebody whom nobody knows."""
    return [sender.report(1, at_ms) for _ in range(count)]


def test_above_the_cap_one_letter_stands_for_the_rest_of_the_minute() -> None:
    worker, state = started()
    records = flood(Instance(), LETTERS_A_MINUTE + BEYOND)

    step = worker.step(state, records)

    assert [(letter.count, letter.source_offset) for letter in letters(step)] == [
        (1, offset) for offset in range(LETTERS_A_MINUTE)
    ]
    assert sum(step.handled.values()) == len(records)
    assert worker.deadline(state) == NOW_MS + MINUTE_MS
    (together,) = letters(worker.tick(state, NOW_MS + MINUTE_MS))
    assert together.reason is Reason.UNKNOWN_INSTANCE
    assert (together.source_offset, together.last_offset) == (LETTERS_A_MINUTE, len(records) - 1)
    assert (together.count, together.append_ms, together.digest) == (BEYOND, NOW_MS, "")
    assert together.length == sum(len(record.value or b"") for record in records[LETTERS_A_MINUTE:])
    assert worker.deadline(state) is None


def test_the_next_minute_has_letters_of_its_own() -> None:
    worker, state = started()
    sender = Instance()
    worker.step(state, flood(sender, LETTERS_A_MINUTE + BEYOND))

    step = worker.step(state, flood(sender, 2, NOW_MS + MINUTE_MS))

    assert [letter.count for letter in letters(step)] == [BEYOND, 1, 1]
    assert letters(worker.tick(state, NOW_MS + 2 * MINUTE_MS)) == []


def test_a_rare_reason_is_not_hidden_by_a_frequent_one() -> None:
    worker, state = started()
    sender = Instance()
    worker.step(state, flood(sender, LETTERS_A_MINUTE + BEYOND))
    (letter,) = letters(worker.step(state, [sender.raw(b"{}", headers={"flc_signature": b""})]))
    assert letter.reason is Reason.UNSIGNED


def test_a_restart_forgets_nothing_of_the_minute() -> None:
    worker, state = started()
    sender = Instance()
    worker.step(state, flood(sender, LETTERS_A_MINUTE + BEYOND))
    restored = worker.state()
    for key, value in state.changes():
        restored.load(key, value)

    assert letters(worker.step(restored, flood(sender, 1))) == []
    assert [letter.count for letter in letters(worker.tick(restored, NOW_MS + MINUTE_MS))] == [BEYOND + 1]


def test_what_is_folded_again_on_a_restore_is_counted_as_it_was() -> None:
    worker = capped(Aggregation)(context())
    state, again = worker.state(), worker.state()
    garbage = [
        Record(
            Contribution.topic,
            0,
            offset,
            NOW_MS,
            None,
            b"{",
            cloudevents.headers("1", "Contribution", "/a", 0),
        )
        for offset in range(LETTERS_A_MINUTE + BEYOND)
    ]
    assert len(letters(worker.step(state, garbage))) == LETTERS_A_MINUTE
    worker.again(again, garbage)
    assert list(again.changes()) == list(state.changes())


def test_bytes_that_nobody_can_decode_have_no_time_and_are_capped_by_the_tick() -> None:
    worker, state = started()
    holes = [Record("flc.reports.v1", 0, offset, 0, None, None) for offset in range(2 * LETTERS_A_MINUTE)]
    assert len(letters(worker.step(state, holes[:-1]))) == LETTERS_A_MINUTE

    assert letters(worker.tick(state, NOW_MS)) == []
    assert letters(worker.step(state, holes[-1:])) == []

    assert [letter.count for letter in letters(worker.tick(state, NOW_MS + MINUTE_MS))] == [LETTERS_A_MINUTE]


def test_the_ticks_of_the_worker_itself_come_when_they_are_due() -> None:
    worker = capped(Health)(context())
    state = worker.state()
    assert worker.deadline(state) == 0
    worker.tick(state, NOW_MS)
    assert worker.deadline(state) == NOW_MS + TICK_MS

    worker.step(state, [Instance().beat() for _ in range(LETTERS_A_MINUTE + BEYOND)])
    for seconds in range(1, 60):
        assert letters(worker.tick(state, NOW_MS + seconds * TICK_MS)) == []
    assert [letter.count for letter in letters(worker.tick(state, NOW_MS + MINUTE_MS))] == [BEYOND]
    assert worker.deadline(state) == NOW_MS + MINUTE_MS + TICK_MS


@pytest.mark.parametrize("kind", [Privacy, Health])
def test_a_capped_worker_keeps_its_name(kind: type[Worker[Any]]) -> None:
    assert (capped(kind).name, capped(kind).__name__) == (kind.name, kind.__name__)
