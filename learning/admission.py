"""Which rows of reports are taken: whole batches at once, as columns; the first reason that applies counts.

A row is judged by, in this order: the form of its id, the form of its type, the ranges of its numbers, an
earlier row of the same report with the same id (the later one is refused, whatever became of the earlier),
its certainty, and its quality, which is the mean of strength and certainty.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Protocol

import numpy as np
import numpy.typing as npt

from learning.micro import to_micro
from schemas.columns import ROW
from schemas.reasons import RowReason

#: A report uses at most so many words; a row with a further one has a bad pattern type.
MAX_WORDS = 256

MAX_FREQUENCY = 2**31 - 1

#: The code of a reason is its place in this tuple; 0: the row is accepted.
REASONS: tuple[RowReason | None, ...] = (None, *RowReason)

_ID = re.compile(r"[0-9a-f]{32}")
_WORD = re.compile(r"[a-z][a-z0-9_-]{0,31}")
_ID_DIGITS = 32
_BAD_WORD = -1

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]


class Report(Protocol):
    """The six columns of a report, all of the same length."""

    @property
    def signature_id(self) -> Sequence[str]:
        """Ids."""

    @property
    def pattern_type(self) -> Sequence[str]:
        """Words."""

    @property
    def strength(self) -> Sequence[float]:
        """In [0, 1]."""

    @property
    def resonance(self) -> Sequence[float]:
        """In [0, 1]."""

    @property
    def epistemic_certainty(self) -> Sequence[float]:
        """In [0, 1]."""

    @property
    def frequency(self) -> Sequence[int]:
        """Observations."""


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
    #: Rows by (report, code of the reason); column 0 counts the accepted ones.
    counts: npt.NDArray[np.int64]

    def accepted(self, report: int) -> int:
        """Return how many rows of a report were accepted."""
        return int(self.counts[report, 0])

    def rejected(self, report: int) -> dict[RowReason, int]:
        """Return how many rows of a report were not, by reason."""
        return {
            reason: int(count)
            for reason, count in zip(REASONS, self.counts[report], strict=True)
            if reason is not None and count
        }


def judge(reports: Sequence[Report], thresholds: Thresholds) -> Verdict:
    """Judge every row of every report."""
    lengths = np.array([len(report.signature_id) for report in reports], np.int64)
    report = np.repeat(np.arange(len(reports)), lengths)
    ids, bad_id = _ids(reports)
    codes, words = _words(reports)
    strength = _floats(reports, lambda one: one.strength)
    resonance = _floats(reports, lambda one: one.resonance)
    certainty = _floats(reports, lambda one: one.epistemic_certainty)
    # Exact where it matters: integers up to 2^31 are float64, and what is larger stays out of range.
    frequency = _floats(reports, lambda one: one.frequency)

    in_range = (frequency >= 1) & (frequency <= MAX_FREQUENCY)
    for values in (strength, resonance, certainty):
        in_range &= (values >= 0) & (values <= 1)
    rows = np.zeros(len(report), ROW)
    rows["signature"] = ids
    rows["strength"] = to_micro(np.where(in_range, strength, 0))
    rows["resonance"] = to_micro(np.where(in_range, resonance, 0))
    rows["certainty"] = to_micro(np.where(in_range, certainty, 0))
    rows["frequency"] = np.where(in_range, frequency, 0)
    rows["pattern_type"] = np.maximum(codes, 0)

    failed = (
        bad_id,
        codes == _BAD_WORD,
        ~in_range,
        _repeated(ids, report, bad_id),
        rows["certainty"] < thresholds.certainty_micro,
        rows["strength"] + rows["certainty"] < 2 * thresholds.quality_micro,
    )
    reason = np.zeros(len(report), np.int64)
    for code, rows_that_fail in reversed(
        tuple(enumerate(failed, 1))
    ):  # so the first that applies has the last word
        reason[rows_that_fail] = code
    width = len(REASONS)
    counts = np.bincount(report * width + reason, minlength=len(reports) * width).reshape(-1, width)
    taken = reason == 0
    return Verdict(rows[taken], report[taken], words, counts.astype(np.int64))


def thresholds(min_certainty: float, min_quality: float) -> Thresholds:
    """Return the gates of the settings (0 … 1), converted as the rows are."""
    return Thresholds(to_micro(min_certainty), to_micro(min_quality))


def _floats(reports: Sequence[Report], column: Callable[[Report], Iterable[float]]) -> Floats:
    return np.fromiter(chain.from_iterable(map(column, reports)), np.float64)


def _ids(reports: Sequence[Report]) -> tuple[npt.NDArray[np.void], Flags]:
    """Return the ids as 16 bytes each (zeros for a malformed one), and which are malformed."""
    ids = list(chain.from_iterable(report.signature_id for report in reports))
    binary = _unhex(ids)
    if binary is not None:
        return binary, np.zeros(len(ids), np.bool_)
    bad, parts = [], []
    for report in reports:  # one by one, so that a bad row slows its own report alone
        binary = _unhex(report.signature_id)
        if binary is None:
            malformed = [_ID.fullmatch(one) is None for one in report.signature_id]
            replaced = ["0" * _ID_DIGITS if is_bad else one for one, is_bad in _pair(report, malformed)]
            binary = np.frombuffer(bytes.fromhex("".join(replaced)), "V16")
            bad.extend(malformed)
        else:
            bad.extend([False] * len(binary))
        parts.append(binary)
    return np.concatenate(parts), np.array(bad, np.bool_)


def _pair(report: Report, malformed: Sequence[bool]) -> Iterable[tuple[str, bool]]:
    return zip(report.signature_id, malformed, strict=True)


def _unhex(ids: Sequence[str]) -> npt.NDArray[np.void] | None:
    """Return the ids as 16 bytes each, or None if one of them is malformed."""
    if not {_ID_DIGITS}.issuperset(map(len, ids)):
        return None
    joined = "".join(ids)
    try:
        binary = bytes.fromhex(joined)
    except ValueError:
        return None
    # fromhex takes upper case and blanks too
    return np.frombuffer(binary, "V16") if binary.hex() == joined else None


class _Lexicon(dict[str, int]):
    """Word -> its code, given out in the order of first appearance; -1 for a malformed word."""

    def __init__(self) -> None:
        self.words: list[str] = []

    def __missing__(self, word: str) -> int:
        code = _BAD_WORD
        if _WORD.fullmatch(word) is not None:
            code = len(self.words)
            self.words.append(word)
        self[word] = code
        return code


def _words(reports: Sequence[Report]) -> tuple[npt.NDArray[np.int64], tuple[str, ...]]:
    lexicon = _Lexicon()
    parts = []
    for report in reports:
        codes = np.fromiter(map(lexicon.__getitem__, report.pattern_type), np.int64)
        if len(codes) > MAX_WORDS and len(set(report.pattern_type)) > MAX_WORDS:
            first = list(dict.fromkeys(word for word in report.pattern_type if lexicon[word] != _BAD_WORD))
            codes[~np.isin(codes, [lexicon[word] for word in first[:MAX_WORDS]])] = _BAD_WORD
        parts.append(codes)
    codes = np.concatenate(parts) if parts else np.zeros(0, np.int64)
    return codes, tuple(lexicon.words)


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
