"""What was refused and why: records as a whole (dead letters), and single rows of admitted reports."""

from collections import Counter, deque
from dataclasses import dataclass

from schemas.dead_letters import DeadLetter
from schemas.reasons import Reason, RowReason
from schemas.reports import Admission

#: Letters that are remembered one by one.
REMEMBERED = 20


@dataclass(frozen=True, slots=True)
class ReasonView:
    """One reason for which records were refused, and the workers that did."""

    reason: Reason
    count: int
    last_ms: int
    stages: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class LetterView:
    """One dead letter: why, by whom, and where the record stands."""

    at_ms: int
    reason: Reason
    stage: str
    source: str
    count: int


@dataclass(frozen=True, slots=True)
class RefusalsView:
    """What was refused, as far back as the observer has read; the most frequent and the latest first."""

    records: int
    reasons: tuple[ReasonView, ...]
    letters: tuple[LetterView, ...]
    rows_received: int
    rows: dict[RowReason, int]


class Refusals:
    """Counts of a federation's refusals, and the last letters."""

    def __init__(self) -> None:
        self._reasons: dict[Reason, ReasonView] = {}
        self._letters: deque[LetterView] = deque(maxlen=REMEMBERED)
        self._rows: Counter[RowReason] = Counter()
        self._received = 0

    def refuse(self, letter: DeadLetter, at_ms: int) -> None:
        """Take a dead letter."""
        before = self._reasons.get(letter.reason)
        count = letter.count + (before.count if before else 0)
        stages = tuple(sorted({letter.stage, *(before.stages if before else ())}))
        self._reasons[letter.reason] = ReasonView(letter.reason, count, at_ms, stages)
        source = f"{letter.source_topic}/{letter.source_partition}/{letter.source_offset}"
        self._letters.append(LetterView(at_ms, letter.reason, letter.stage, source, letter.count))

    def admit(self, admission: Admission) -> None:
        """Take the accounting of a report."""
        self._received += admission.received
        self._rows.update(admission.rejected)

    def view(self) -> RefusalsView:
        """Return what was refused."""
        return RefusalsView(
            records=sum(one.count for one in self._reasons.values()),
            reasons=tuple(sorted(self._reasons.values(), key=lambda one: (-one.count, one.reason))),
            letters=tuple(reversed(self._letters)),
            rows_received=self._received,
            rows=dict(self._rows.most_common()),
        )
