"""Which rows of reports are taken: whole batches at once, as columns; the first reason that applies counts.

A row is judged by, in this order: the form of its id, the form of its type, the ranges of its numbers, an
earlier row of the same report with the same id (the later one is refused, whatever became of the earlier),
its certainty, and its quality, which is the mean of strength and certainty.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from learning.micro import to_micro
from learning.packed import BAD_WORD, Packed
from schemas.columns import ROW
from schemas.event import MAX_FREQUENCY
from schemas.reasons import RowReason

#: The code of a reason is its place in this tuple; 0: the row is accepted.
REASONS: tuple[RowReason | None, ...] = (None, *RowReason)

Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Thresholds:
    """The gates, in micro-units: a row passes that is not below them."""

    certainty_micro: int
    quality_micro: int


@dataclass(frozen=True)
class Verdict:
    """What became of a batch of reports."""

    #: The accepted rows of all reports, report after report, of dtype ``ROW``.
    rows: npt.NDArray[np.void]
    #: Of each accepted row its report, as an index into the batch.
    report: npt.NDArray[np.int64]
    #: What ``rows["pattern_type"]`` points at.
    words: tuple[str, ...]
    #: Rows of each report by the code of the reason; those with code 0 were accepted.
    counts: Sequence[Sequence[int]]

    def accepted(self, report: int) -> int:
        """Return how many rows of a report were accepted."""
        return self.counts[report][0]

    def rejected(self, report: int) -> dict[RowReason, int]:
        """Return how many rows of a report were not, by reason."""
        return {
            reason: count
            for reason, count in zip(REASONS, self.counts[report], strict=True)
            if count and reason is not None
        }


def judge(reports: Sequence[Packed], thresholds: Thresholds) -> Verdict:
    """Judge every row of every report."""
    report = np.repeat(np.arange(len(reports)), [one.rows for one in reports])
    ids = np.frombuffer(b"".join([one.ids for one in reports]), "V16")
    bad_id = np.frombuffer(b"".join([one.malformed for one in reports]), np.bool_)
    codes, words = _words(reports, report)
    strength = np.frombuffer(b"".join([one.strength for one in reports]), np.float64)
    resonance = np.frombuffer(b"".join([one.resonance for one in reports]), np.float64)
    certainty = np.frombuffer(b"".join([one.certainty for one in reports]), np.float64)
    frequency = np.frombuffer(b"".join([one.frequency for one in reports]), np.int64)

    in_range = (frequency >= 1) & (frequency <= MAX_FREQUENCY)
    for values in (strength, resonance, certainty):
        in_range &= (values >= 0) & (values <= 1)
    rows = np.zeros(len(report), ROW)
    rows["signature"] = ids
    rows["strength"] = to_micro(np.where(in_range, strength, 0))
    rows["resonance"] = to_micro(np.where(in_range, resonance, 0))
    rows["certainty"] = to_micro(np.where(in_range, certainty, 0))
    rows["frequency"] = np.where(in_range, frequency, 0)
    rows["pattern_type"] = codes

    failed = (
        bad_id,
        codes == BAD_WORD,
        ~in_range,
        _repeated(ids, report, bad_id),
        rows["certainty"] < thresholds.certainty_micro,
        rows["strength"] + rows["certainty"] < 2 * thresholds.quality_micro,
    )
    reason = np.zeros(len(report), np.int64)
    # Backwards, so that the first that applies has the last word.
    for code, rows_that_fail in reversed(tuple(enumerate(failed, 1))):
        reason[rows_that_fail] = code
    width = len(REASONS)
    counts = np.bincount(report * width + reason, minlength=len(reports) * width).reshape(-1, width)
    taken = reason == 0
    return Verdict(rows.compress(taken), report[taken], words, counts.tolist())


def thresholds(min_certainty: float, min_quality: float) -> Thresholds:
    """Return the gates of the settings (0 … 1), converted as the rows are."""
    return Thresholds(to_micro(min_certainty), to_micro(min_quality))


def _words(
    reports: Sequence[Packed], report: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.int64], tuple[str, ...]]:
    """Return of each row the code of its word among the words of all reports (or ``BAD_WORD``), and these."""
    common: dict[str, int] = {}
    table = [common.setdefault(word, len(common)) for one in reports for word in one.words]
    first = np.cumsum([0, *(len(one.words) for one in reports)])
    own = np.frombuffer(b"".join([one.codes for one in reports]), np.uint16).astype(np.int64)
    known = own != BAD_WORD
    codes = np.full(len(own), BAD_WORD)
    codes[known] = np.array(table, np.int64)[(first[report] + own)[known]]
    return codes, tuple(common)


def _repeated(ids: npt.NDArray[np.void], report: npt.NDArray[np.int64], bad: Flags) -> Flags:
    """Return which rows have the id of an earlier row of their report."""
    halves = np.frombuffer(ids.tobytes(), np.uint64).reshape(-1, 2)
    # A hash tells cheaply that there is none at all, which is what is usual; on a collision the sort decides.
    mixed = halves[:, 0] ^ (halves[:, 1] * np.uint64(0x9E3779B97F4A7C15))
    mixed ^= report.astype(np.uint64) * np.uint64(0xC2B2AE3D27D4EB4F)
    mixed.sort()
    repeated = np.zeros(len(ids), np.bool_)
    if not (mixed[1:] == mixed[:-1]).any():
        return repeated
    group = report * 2 + bad  # the zeros that stand for a malformed id are nobody's earlier row
    order = np.lexsort((halves[:, 1], halves[:, 0], group))  # stable: equal ids stay in their order
    same = (group[order][1:] == group[order][:-1]) & (halves[order][1:] == halves[order][:-1]).all(axis=1)
    repeated[order[1:][same]] = True
    return repeated & ~bad
