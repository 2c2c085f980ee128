"""The instances: their health, what became of their last report, and how they stand in the last round."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from convergence.observation.explanation import instance_costs, ratio
from learning.weights import FULL_VOLUME_ROWS
from schemas.event import MICRO
from schemas.health import InstanceHealth, Status
from schemas.reasons import DropReason, RowReason
from schemas.reports import Admission
from schemas.rounds import DetectionCompleted
from workers.cohort import is_living


@dataclass(frozen=True, slots=True)
class ReportView:
    """The last report of an instance that was judged."""

    at_ms: int
    outcome: str
    received: int
    accepted: int
    rejected: dict[RowReason, int]


@dataclass(frozen=True, slots=True)
class Standing:
    """An instance in the last round, as ratios; the scores are None outside the cohort."""

    round_id: str
    drop_reason: DropReason | None
    straggler: bool
    weight: float
    alignment: float | None
    coverage: float | None
    certainty: float | None
    participation: float | None
    convergence: float | None
    emergence: float | None
    unified: float | None
    #: What it costs the criterion that is farthest from being met; None: it costs nothing, or all are met.
    cost: float | None


@dataclass(frozen=True, slots=True)
class InstanceView:
    """An instance; weight = reliability x data quality x volume, before the cap on its organisation."""

    instance_id: str
    organisation: str
    status: Status
    weight: float
    reliability: float
    data_quality: float
    volume: float
    patterns: int
    last_seen_ms: int | None
    skew_ms: int
    report: ReportView | None
    standing: Standing | None


@dataclass(frozen=True, slots=True)
class InstancesView:
    """All instances in numbers."""

    total: int
    by_status: dict[Status, int]
    #: Which criterion the costs are costs of.
    cost_of: str | None


#: What a list of instances can be sorted by; the most interesting first.
ORDERS: dict[str, Callable[[InstanceView], tuple[object, ...]]] = {
    "cost": lambda one: (-(one.standing.cost or 0.0) if one.standing else 0.0, one.instance_id),
    "name": lambda one: (one.instance_id,),
    "status": lambda one: (-list(Status).index(one.status), one.instance_id),
    "weight": lambda one: (one.weight, one.instance_id),
    "alignment": lambda one: (_last(one.standing.alignment if one.standing else None), one.instance_id),
    "coverage": lambda one: (_last(one.standing.coverage if one.standing else None), one.instance_id),
    "report": lambda one: (-(one.report.at_ms if one.report else 0), one.instance_id),
    "refused": lambda one: (-_refused(one.report), one.instance_id),
}


class Instances:
    """What is known of every instance of the federation."""

    def __init__(self) -> None:
        self._health: dict[str, InstanceHealth] = {}
        self._reports: dict[str, ReportView] = {}
        self._last: DetectionCompleted | None = None
        self._rows: dict[str, int] = {}
        self._costs: dict[int, int] = {}
        self._cost_of: str | None = None

    def see(self, health: InstanceHealth) -> None:
        """Take the health of an instance."""
        self._health[health.instance_id] = health

    def forget(self, instance_id: str) -> None:
        """Take the end of an instance."""
        self._health.pop(instance_id, None)
        self._reports.pop(instance_id, None)

    def admit(self, admission: Admission, at_ms: int) -> None:
        """Take the accounting of a report; one that was sent twice says nothing new."""
        if admission.outcome in {"duplicate", "stale"}:
            return
        self._reports[admission.instance_id] = ReportView(
            at_ms, admission.outcome, admission.received, admission.accepted, admission.rejected
        )

    def score(self, detected: DetectionCompleted) -> None:
        """Take the result of the last round."""
        self._last = detected
        self._rows = {name: row for row, name in enumerate(detected.instances.instance_id)}
        unmet = [one for one in detected.criteria if not one.met and one.name != "emergence"]
        self._cost_of = min(unmet, key=lambda one: one.distance).name if unmet else None
        self._costs = {} if self._cost_of is None else instance_costs(detected, self._cost_of)

    def inactive(self) -> list[str]:
        """Return the instances that a round does not take."""
        return sorted(name for name, health in self._health.items() if not is_living(health.status))

    def awaited(self, since_ms: int) -> list[str]:
        """Return the instances of a cohort that have not reported since ``since_ms``."""
        return sorted(
            name
            for name, health in self._health.items()
            if is_living(health.status)
            and health.admitted is not None
            and health.admitted.append_ms < since_ms
        )

    def summary(self) -> InstancesView:
        """Return all in numbers."""
        by_status = Counter(health.status for health in self._health.values())
        return InstancesView(
            len(self._health), {status: by_status.get(status, 0) for status in Status}, self._cost_of
        )

    def page(self, order: str, containing: str, first: int, count: int) -> tuple[int, Sequence[InstanceView]]:
        """Return how many instances match a text, and ``count`` of them from ``first`` on."""
        found = [
            self._view(health)
            for name, health in self._health.items()
            if containing in name or containing in health.organisation
        ]
        found.sort(key=ORDERS[order])
        return len(found), found[first : first + count]

    def one(self, instance_id: str) -> InstanceView | None:
        """Return an instance."""
        health = self._health.get(instance_id)
        return None if health is None else self._view(health)

    def _view(self, health: InstanceHealth) -> InstanceView:
        name = health.instance_id
        volume = FULL_VOLUME_ROWS + min(FULL_VOLUME_ROWS, health.pattern_count)
        return InstanceView(
            instance_id=name,
            organisation=health.organisation,
            status=health.status,
            weight=ratio(health.weight),
            reliability=ratio(health.reliability),
            data_quality=ratio(health.data_quality),
            volume=ratio(MICRO * volume // (2 * FULL_VOLUME_ROWS)),
            patterns=health.pattern_count,
            last_seen_ms=health.last_seen_ms,
            skew_ms=health.skew_ms,
            report=self._reports.get(name),
            standing=self._standing(name),
        )

    def _standing(self, name: str) -> Standing | None:
        if self._last is None or (row := self._rows.get(name)) is None:
            return None
        instances, scores = self._last.instances, self._last.scores
        reason = instances.drop_reason[row]

        def score(column: Sequence[int]) -> float | None:
            return ratio(column[row]) if reason is None else None

        return Standing(
            round_id=self._last.round_id,
            drop_reason=reason,
            straggler=instances.straggler[row],
            weight=ratio(instances.weight[row]),
            alignment=score(scores.alignment),
            coverage=score(scores.coverage),
            certainty=score(scores.quality),
            participation=score(scores.participation),
            convergence=score(scores.convergence),
            emergence=score(scores.emergence),
            unified=score(scores.unified),
            cost=ratio(self._costs[row]) if self._costs.get(row) else None,
        )


def _last(value: float | None) -> float:
    """Return a key that sorts the lowest first, and nothing at the end."""
    return 2.0 if value is None else value


def _refused(report: ReportView | None) -> int:
    """Return how much of a report was refused; a whole report is worse than any of its rows."""
    if report is None:
        return 0
    return 10**6 if report.outcome.startswith("refused:") else report.received - report.accepted
