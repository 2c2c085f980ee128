"""What a trial came to: its checks, its figures, and what became of each fault."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from convergence.replay.log import Stands
from schemas.convergence import ConvergenceUpdated, RoundResult, SynchronizationCompleted
from schemas.reasons import Reason
from schemas.reports import Admission
from tests.faults.checks import Check, Replayed, Results, events
from tests.faults.faults import Evidence, Fault
from tests.faults.load import FEDERATIONS
from tests.faults.plan import Plan
from tests.faults.schedule import Planned


@dataclass(frozen=True)
class Struck:
    """A fault that struck: what became of it."""

    planned: Planned
    effective: bool
    #: Seconds from its end until every federation had a result again; None: never.
    recovery_s: float | None


@dataclass(frozen=True)
class Outcome:
    """What a trial came to."""

    plan: Plan
    checks: Sequence[Check]
    struck: Sequence[Struck]
    results: Results
    #: Reports by outcome, results by kind, bad records by reason.
    admissions: Mapping[str, int]
    rounds: Mapping[str, int]
    bad: Mapping[Reason, int]
    sent: int
    resent: int
    #: Reports answered in a second, before and while faults struck.
    clean_rate: float
    faulted_rate: float
    rebalances: int
    fenced: int
    failed_tasks: int
    peak_bytes: Mapping[str, int]
    took_s: float

    @property
    def passed(self) -> bool:
        """Whether no check found anything."""
        return not any(check.problems for check in self.checks)


def struck(faults: Sequence[Fault], evidence: Evidence, replayed: Replayed) -> Iterator[Struck]:
    """Yield what became of each fault."""
    results = [(one.event.federation, one.record.append_ms) for one in _results(replayed)]
    for fault in faults:
        yield Struck(fault.planned, fault.effective(evidence), _recovery(fault.healed_s, results))


def admissions(replayed: Replayed) -> Counter[str]:
    """Count the reports by their outcome."""
    return Counter(one.event.outcome.partition(":")[0] for one in events(replayed.log, Admission))


def rounds(replayed: Replayed) -> Counter[str]:
    """Count the results by their kind."""
    return Counter(one.event.kind.value for one in _results(replayed))


def rate(replayed: Replayed, from_s: float, to_s: float) -> float:
    """Return how many reports a second were answered in a time."""
    times = [one.record.append_ms / 1000 for one in events(replayed.log, Admission)]
    return sum(from_s <= at_s < to_s for at_s in times) / (to_s - from_s)


def _results(replayed: Replayed) -> Iterator[Stands[RoundResult]]:
    yield from events(replayed.log, ConvergenceUpdated)
    yield from events(replayed.log, SynchronizationCompleted)


def _recovery(healed_s: float, results: Sequence[tuple[str, int]]) -> float | None:
    """Return the seconds until the last of the federations had a result again."""
    following = [
        min(
            (at_ms / 1000 - healed_s for of, at_ms in results if of == each and at_ms / 1000 > healed_s),
            default=None,
        )
        for each in FEDERATIONS
    ]
    return None if None in following else max(one for one in following if one is not None)
