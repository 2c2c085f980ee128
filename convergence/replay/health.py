"""The facts in the health of an instance: what follows from its reports; who is alive is a decision."""

from bisect import bisect_right
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from convergence.replay import weights
from convergence.replay.exact import ONE, share
from convergence.replay.findings import Comparison, Difference, DifferentError
from convergence.replay.log import Log
from convergence.replay.registrations import Registrations
from convergence.replay.reports import Reports
from convergence.replay.rules import Rules
from convergence.replay.senders import Address
from schemas.health import InstanceHealth
from schemas.reasons import Reason, RowReason
from schemas.reports import Admission, PatternReport

#: Reports of whose rows the data quality is made.
QUALITY_REPORTS = 20

#: Heartbeats expected, of which the reliability is made.
RELIABILITY_PERIODS = 20

#: Every reliability that there is.
RELIABILITIES = frozenset(
    {ONE}
    | {
        share(received, expected)
        for expected in range(1, RELIABILITY_PERIODS + 1)
        for received in range(expected + 1)
    }
)


@dataclass(frozen=True)
class Facts:
    """What is known of instances from their registrations and reports."""

    reports: Reports
    registrations: Registrations

    def organisations(self, address: Address) -> set[str]:
        """Return the organisations that an instance was registered for."""
        return {each.registered.organisation for each in self.registrations.of(address)}

    def has_left(self, address: Address) -> bool:
        """Tell whether an instance ever left: then it may have begun anew since."""
        return any(each.left for each in self.registrations.of(address))

    def qualities(self, address: Address, sequence: int) -> set[int]:
        """Return the data quality with a report; of an instance that has left, since any of its returns."""
        every = self._admitted.get(address, [])
        end = bisect_right(every, sequence, key=lambda each: each.sequence or 0)
        admitted = every[max(0, end - QUALITY_REPORTS) : end]
        starts = range(len(admitted)) if self.has_left(address) else range(1)
        return {_quality(admitted[start:]) for start in starts}

    def outcomes(self, address: Address, sequence: int | None) -> Collection[str]:
        """Return what became of the reports of a sequence; one of the far future answers no sequence."""
        return self._outcomes.get(address, {}).get(sequence, ())

    @cached_property
    def _admitted(self) -> Mapping[Address, Sequence[Admission]]:
        return {
            address: [each for each in judged if each.outcome == "admitted" and each.sequence is not None]
            for address, judged in self.reports.judged.items()
        }

    @cached_property
    def _outcomes(self) -> Mapping[Address, Mapping[int | None, tuple[str, ...]]]:
        found: dict[Address, dict[int | None, tuple[str, ...]]] = {}
        for address, judged in self.reports.judged.items():
            of = found.setdefault(address, {})
            for each in judged:
                sequence = None if each.outcome == f"refused:{Reason.TOO_EARLY}" else each.sequence
                if each.outcome not in of.get(sequence, ()):
                    of[sequence] = (*of.get(sequence, ()), each.outcome)
        return found


def examine(log: Log, rules: Rules, facts: Facts, comparison: Comparison) -> None:
    """Hold every InstanceHealth against the reports; raises DifferentError."""
    for stands in log.events(InstanceHealth):
        event, where = stands.event, str(stands)
        address = (event.federation, event.instance_id)
        expected = weights.weight(
            event.reliability, event.data_quality, event.pattern_count, rules.min_weight
        )
        comparison.values(f"{where}.weight", event.weight, expected)
        one_of(f"{where}.reliability", event.reliability, RELIABILITIES)
        one_of(f"{where}.organisation", event.organisation, facts.organisations(address))
        if log.is_cut(PatternReport.topic):
            continue
        rows, qualities = 0, {ONE}
        if event.admitted is not None:
            taken = facts.reports.taken.get(address, {}).get(event.admitted.sequence)
            if taken is None:
                raise DifferentError(Difference(f"{where}.admitted.sequence", event.admitted.sequence, None))
            comparison.values(f"{where}.admitted.append_ms", event.admitted.append_ms, taken.admitted_ms)
            rows, qualities = len(taken.rows), facts.qualities(address, event.admitted.sequence)
        comparison.values(f"{where}.pattern_count", event.pattern_count, rows)
        one_of(f"{where}.data_quality", event.data_quality, qualities)
        if event.judged is not None:
            possible = facts.outcomes(address, event.judged.sequence)
            one_of(f"{where}.judged.outcome", event.judged.outcome, possible)


def one_of(where: str, recorded: object, possible: Iterable[object]) -> None:
    """Raise DifferentError if something is recorded that is none of what may be."""
    if recorded not in possible:
        shown = sorted(map(str, possible))
        raise DifferentError(Difference(where, recorded, shown[0] if len(shown) == 1 else f"one of {shown}"))


def _quality(admitted: Iterable[Admission]) -> int:
    admitted = list(admitted)

    def rejected(reason: RowReason) -> int:
        return sum(each.rejected.get(reason, 0) for each in admitted)

    return weights.data_quality(
        sum(each.accepted for each in admitted),
        sum(each.received for each in admitted),
        rejected(RowReason.LOW_CERTAINTY),
        rejected(RowReason.LOW_QUALITY),
    )
