"""Which rows are taken, and why the others are not."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from math import floor
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from learning import admission
from learning.admission import Thresholds, Verdict
from learning.packed import pack
from schemas.columns import signature_ids
from schemas.reasons import RowReason
from tests.deployments import good_row

GATES = admission.thresholds(0.85, 0.7)


@dataclass(frozen=True)
class Report:
    """Six columns."""

    signature_id: Sequence[str]
    pattern_type: Sequence[str]
    strength: Sequence[float]
    resonance: Sequence[float]
    epistemic_certainty: Sequence[float]
    frequency: Sequence[int]


def judge(batch: Sequence[Report], thresholds: Thresholds) -> Verdict:
    return admission.judge([pack(one) for one in batch], thresholds)


def report(*rows: dict[str, Any]) -> Report:
    full = [good_row(index) | row for index, row in enumerate(rows)]
    return Report(**{name: tuple(row[name] for row in full) for name in good_row(0)})


def reason_of(**row: Any) -> RowReason | None:
    verdict = judge([report(row)], GATES)
    assert verdict.accepted(0) + sum(verdict.rejected(0).values()) == 1
    return next(iter(verdict.rejected(0)), None)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({}, None),
        ({"signature_id": "A" * 32}, RowReason.BAD_SIGNATURE_ID),
        ({"signature_id": "a" * 31}, RowReason.BAD_SIGNATURE_ID),
        ({"signature_id": "a" * 33}, RowReason.BAD_SIGNATURE_ID),
        ({"signature_id": " " * 2 + "a" * 30}, RowReason.BAD_SIGNATURE_ID),
        ({"signature_id": "g" * 32}, RowReason.BAD_SIGNATURE_ID),
        ({"signature_id": "٣" * 32}, RowReason.BAD_SIGNATURE_ID),
        ({"signature_id": "a" * 31 + "\n"}, RowReason.BAD_SIGNATURE_ID),
        ({"pattern_type": ""}, RowReason.BAD_PATTERN_TYPE),
        ({"pattern_type": "Latency"}, RowReason.BAD_PATTERN_TYPE),
        ({"pattern_type": "a" * 33}, RowReason.BAD_PATTERN_TYPE),
        ({"pattern_type": "a\n"}, RowReason.BAD_PATTERN_TYPE),
        ({"strength": -0.1}, RowReason.OUT_OF_RANGE),
        ({"strength": 1.0000001}, RowReason.OUT_OF_RANGE),
        ({"resonance": 1e300}, RowReason.OUT_OF_RANGE),
        ({"epistemic_certainty": 2**63}, RowReason.OUT_OF_RANGE),
        ({"frequency": 0}, RowReason.OUT_OF_RANGE),
        ({"frequency": 2**31}, RowReason.OUT_OF_RANGE),
        ({"frequency": 2**64 - 1}, RowReason.OUT_OF_RANGE),
        ({"frequency": 2**31 - 1}, None),
        ({"strength": -0.0, "epistemic_certainty": 1}, RowReason.LOW_QUALITY),
        ({"epistemic_certainty": 0.8499994}, RowReason.LOW_CERTAINTY),
        ({"epistemic_certainty": 0.8499996}, None),
        ({"strength": 0.549999, "epistemic_certainty": 0.85}, RowReason.LOW_QUALITY),
        ({"strength": 0.55, "epistemic_certainty": 0.85}, None),
        ({"strength": 0.4, "epistemic_certainty": 0.5}, RowReason.LOW_CERTAINTY),
        ({"signature_id": "", "frequency": 0}, RowReason.BAD_SIGNATURE_ID),
        ({"pattern_type": "", "frequency": 0}, RowReason.BAD_PATTERN_TYPE),
        ({"frequency": 0, "epistemic_certainty": 0.1}, RowReason.OUT_OF_RANGE),
    ],
)
def test_the_first_reason_that_applies_counts(row: dict[str, Any], reason: RowReason | None) -> None:
    assert reason_of(**row) is reason


def test_of_two_rows_of_a_signature_the_later_is_refused_whatever_became_of_the_earlier() -> None:
    one = {"signature_id": "a" * 32}
    verdict = judge([report(one | {"epistemic_certainty": 0.1}, one, one)], GATES)
    assert verdict.rejected(0) == {RowReason.LOW_CERTAINTY: 1, RowReason.DUPLICATE_SIGNATURE: 2}


def test_the_same_signature_in_two_reports_is_no_duplicate() -> None:
    verdict = judge([report({}, {}), report({}, {})], GATES)
    assert (verdict.accepted(0), verdict.accepted(1)) == (2, 2)


def test_the_zeros_of_a_malformed_id_are_not_an_earlier_row() -> None:
    verdict = judge([report({"signature_id": "x"}, {"signature_id": "0" * 32})], GATES)
    assert verdict.rejected(0) == {RowReason.BAD_SIGNATURE_ID: 1}


def test_a_report_has_no_more_than_256_words() -> None:
    verdict = judge([report(*({"pattern_type": f"w{index}"} for index in range(300)))], GATES)
    assert verdict.rejected(0) == {RowReason.BAD_PATTERN_TYPE: 44}
    assert verdict.words[int(verdict.rows["pattern_type"][255])] == "w255"


@pytest.mark.parametrize("batch", [[], [report()], [report(), report({"signature_id": "x"}), report()]])
def test_nothing_held_is_judged_too(batch: list[Report]) -> None:
    verdict = judge(batch, GATES)
    assert len(verdict.rows) == 0
    assert len(verdict.counts) == len(batch)


ROWS = st.fixed_dictionaries(
    {
        "signature_id": st.sampled_from(
            ["a" * 32, "b" * 32, "0" * 32, "c" * 31 + "1", "Z" * 32, "", "é" * 32]
        ),
        "pattern_type": st.sampled_from(["latency", "error", "Bad", ""]),
        "strength": st.one_of(st.floats(0, 1), st.sampled_from([0.55, -1.0, 2.0, 0, 1])),
        "resonance": st.one_of(st.floats(0, 1), st.just(1.5)),
        "epistemic_certainty": st.one_of(st.floats(0.8, 1), st.sampled_from([0.85, -1.0])),
        "frequency": st.sampled_from([1, 5, 2**31 - 1, 0, 2**31, 2**63]),
    }
)


def plainly(rows: list[dict[str, Any]]) -> tuple[Counter[RowReason], list[tuple[str, int, str]]]:
    """Judge row by row, as the text says it."""
    reasons: Counter[RowReason] = Counter()
    taken, seen = [], set[str]()
    for row in rows:
        values = [row["strength"], row["resonance"], row["epistemic_certainty"]]
        s, _, c = (floor(value * 1e6 + 0.5) for value in values)
        well_formed = re.fullmatch("[0-9a-f]{32}", row["signature_id"]) is not None
        if not well_formed:
            reasons[RowReason.BAD_SIGNATURE_ID] += 1
        elif re.fullmatch("[a-z][a-z0-9_-]{0,31}", row["pattern_type"]) is None:
            reasons[RowReason.BAD_PATTERN_TYPE] += 1
        elif not all(0 <= value <= 1 for value in values) or not 1 <= row["frequency"] < 2**31:
            reasons[RowReason.OUT_OF_RANGE] += 1
        elif row["signature_id"] in seen:
            reasons[RowReason.DUPLICATE_SIGNATURE] += 1
        elif c < 850_000:
            reasons[RowReason.LOW_CERTAINTY] += 1
        elif s + c < 1_400_000:
            reasons[RowReason.LOW_QUALITY] += 1
        else:
            taken.append((row["signature_id"], s, row["pattern_type"]))
        seen.add(row["signature_id"])
    return reasons, taken


@given(st.lists(st.lists(ROWS, max_size=8), max_size=6))
def test_columns_are_judged_as_rows_are(batch: list[list[dict[str, Any]]]) -> None:
    verdict = judge([report(*rows) for rows in batch], GATES)
    ids = signature_ids(verdict.rows)
    for index, rows in enumerate(batch):
        reasons, taken = plainly(rows)
        assert verdict.rejected(index) == reasons
        own = [place for place, of in enumerate(verdict.report.tolist()) if of == index]
        assert [
            (
                ids[place],
                int(verdict.rows["strength"][place]),
                verdict.words[verdict.rows["pattern_type"][place]],
            )
            for place in own
        ] == taken
