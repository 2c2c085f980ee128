"""What the checks say of a log that is right, and of one that is not."""

from pathlib import Path

import pytest

from convergence.replay.findings import Difference, Finding, Verdict
from schemas.dead_letters import DeadLetter
from schemas.reasons import Reason
from tests.faults.checks import Letters, kind_of, read_during
from tests.faults.journal import Journal
from workers.runtime.port import TopicPartition

AT = TopicPartition("flc.convergence.v1", 0)
FINAL = {AT: {0: b"a", 2: b"b", 5: b"c"}}


def letter(reason: Reason, first: int, last: int, count: int = 1) -> DeadLetter:
    """Return the letter of one or several reports."""
    return DeadLetter(
        federation=None,
        reason=reason,
        stage="privacy",
        source_topic="flc.reports.v1",
        source_partition=0,
        source_offset=first,
        last_offset=last,
        count=count,
        length=1,
        digest="",
        append_ms=0,
        version="",
    )


@pytest.mark.parametrize(
    ("finding", "kind"),
    [
        (Finding("x", Verdict.EQUAL), ""),
        (Finding("x", Verdict.EQUAL, note="3 at the end have no answer yet"), "missing"),
        (Finding("x", Verdict.UNDER_WAY, note="it is not there yet"), "missing"),
        (Finding("x", Verdict.DIFFERENT, difference=Difference("where", None, 1)), "missing"),
        (Finding("x", Verdict.DIFFERENT, difference=Difference("where", 1, None)), "extra"),
        (Finding("x", Verdict.DIFFERENT, difference=Difference("where", 1, 2)), "mismatched"),
    ],
)
def test_a_finding_is_missing_extra_or_mismatched(finding: Finding, kind: str) -> None:
    assert kind_of(finding) == kind


def test_a_reader_that_missed_something_saw_part_of_the_log() -> None:
    assert not read_during({AT: [(0, b"a"), (5, b"c")]}, FINAL).problems


@pytest.mark.parametrize(
    "seen",
    [[(0, b"a"), (1, b"x")], [(0, b"other")], [(2, b"b"), (0, b"a")], [(0, b"a"), (0, b"a")]],
    ids=["an aborted record", "another record", "out of order", "twice"],
)
def test_a_reader_that_saw_something_else_is_told(seen: list[tuple[int, bytes]]) -> None:
    assert read_during({AT: seen}, FINAL).problems


def test_a_letter_that_stands_for_several_refuses_each_of_them() -> None:
    own, common = letter(Reason.BAD_JSON, 7, 7), letter(Reason.REVOKED_KEY, 5, 9, count=3)
    letters = Letters([own, common])
    found = [letters.of((own.source_topic, 0, offset)) for offset in (4, 5, 7, 9, 10)]
    assert found == [
        set(),
        {Reason.REVOKED_KEY},
        {Reason.BAD_JSON, Reason.REVOKED_KEY},
        {Reason.REVOKED_KEY},
        set(),
    ]
    assert letters.of((own.source_topic, 1, 7)) == set()


def test_a_line_that_a_kill_cut_off_is_passed_over(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text(
        "Workers privacy on 127.0.0.1:9092.\n"
        '{"event": "group.assigned", "worker": "privacy", "timestamp": "2026-01-01T00:00:01.5Z"}\n'
        '{"event": "task.failed", "exception": [{"exc_type": "Fenced"}], '
        '"timestamp": "2026-01-01T00:00:02Z"}\n'
        '{"event": "task.fai'
    )
    journal = Journal.read({"privacy-0": log})
    assert [(entry.event, entry.error) for entry in journal.entries] == [
        ("group.assigned", ""),
        ("task.failed", "Fenced"),
    ]
