"""Why a round ended as it did: each criterion and its distance, who costs most, and who was left out and why.

The costs of the instances add up exactly to what the federation lacks, because its scores are weighted sums:

    1 - convergence = sum(w/W * (0.5 (1 - unified) + 0.3 (1 - alignment))) + 0.2 (1 - emergence)
    1 - alignment   = sum(w/W * (1 - alignment_i))
    variance        = sum(w/W * (unified_i - mean)^2)

Emergence belongs to patterns, not to instances: nobody is named for it.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from learning.micro import public
from schemas.convergence import RoundAbandoned
from schemas.event import MICRO
from schemas.reasons import DropReason
from schemas.rounds import CriterionVerdict, DetectionCompleted, DistributionCompleted, HandOver, Phase

#: Instances named for each criterion.
COSTLIEST = 3

#: Instances named at most among the dropped, the stragglers and those that did not acknowledge.
NAMED = 20

_DECIMALS = 4

#: What an instance whose coverage is below this lacks is patterns, not agreement.
_FAIR_COVERAGE = 900_000

DROPPED_BECAUSE = {
    DropReason.NOT_ACTIVE: "inactive or never seen when the collection closed",
    DropReason.REPORT_TOO_OLD: "its last report is too old",
    DropReason.NO_PATTERNS: "its report has no accepted pattern",
    DropReason.LOW_QUALITY: "too many malformed rows in its last reports",
}


@dataclass(frozen=True, slots=True)
class Cost:
    """What one instance costs a criterion, in the criterion's own units, and its weak side."""

    instance_id: str
    cost: float
    because: str


@dataclass(frozen=True, slots=True)
class CriterionView:
    """A criterion: where it stands, how far that is on the right (positive) side, who costs it most."""

    name: str
    value: float
    threshold: float
    met: bool
    distance: float
    costliest: tuple[Cost, ...]

    @property
    def must(self) -> str:
        """What is asked of the value."""
        return "stay below" if self.name == "variance" else "exceed"


@dataclass(frozen=True, slots=True)
class Dropped:
    """An instance with an admitted report that is not in the cohort."""

    instance_id: str
    reason: DropReason
    because: str


@dataclass(frozen=True, slots=True)
class PhaseView:
    """A phase of a round; what has not ended has no duration."""

    phase: Phase
    started_ms: int
    duration_ms: int | None


@dataclass(frozen=True, slots=True)
class Explanation:
    """A round explained. Lists of names are cut, the counts beside them are not."""

    round_id: str
    outcome: str
    sentence: str
    cohort: int
    quorum: int
    criteria: tuple[CriterionView, ...]
    dropped: tuple[Dropped, ...]
    dropped_count: dict[DropReason, int]
    stragglers: tuple[str, ...]
    straggler_count: int
    unacknowledged: tuple[str, ...]
    unacknowledged_count: int
    phases: tuple[PhaseView, ...]
    library: int | None
    released: int | None
    withheld: int | None
    emerged: int | None
    commands: tuple[str, ...]


def explain(
    event: HandOver, abandoned: RoundAbandoned | None = None, *, ended_ms: int | None = None
) -> Explanation:
    """Return what a hand-over (whole, of any phase) says of its round, and how it was abandoned if it was."""
    instances = event.instances
    left_out = [
        Dropped(name, reason, DROPPED_BECAUSE[reason])
        for name, reason in zip(instances.instance_id, instances.drop_reason, strict=True)
        if reason is not None
    ]
    stragglers = [
        name
        for name, straggler, reason in zip(
            instances.instance_id, instances.straggler, instances.drop_reason, strict=True
        )
        if straggler and reason is None
    ]
    detected = event if isinstance(event, DetectionCompleted) else None
    missing = event.missing if isinstance(event, DistributionCompleted) else ()
    criteria = () if detected is None else _criteria(detected)
    releases = None if detected is None else detected.releases
    counts = dict(Counter(one.reason for one in left_out)) if abandoned is None else dict(abandoned.dropped)
    cohort = instances.drop_reason.count(None)
    return Explanation(
        round_id=event.round_id,
        outcome=_outcome(detected, abandoned),
        sentence=_sentence(criteria, cohort, converged=detected.converged if detected else None)
        if abandoned is None
        else abandonment(abandoned),
        cohort=cohort if abandoned is None else abandoned.instance_count,
        quorum=event.configuration.min_instances,
        criteria=criteria,
        dropped=tuple(left_out[:NAMED]),
        dropped_count=counts,
        stragglers=tuple(stragglers[:NAMED]),
        straggler_count=len(stragglers),
        unacknowledged=tuple(missing[:NAMED]),
        unacknowledged_count=len(missing),
        phases=_phases(event, ended_ms),
        library=None if detected is None else detected.library,
        released=releases.released if releases else None,
        withheld=releases.withheld if releases else None,
        emerged=releases.emerged if releases else None,
        commands=event.commands,
    )


def explain_abandoned(event: RoundAbandoned, inactive: Sequence[str] = ()) -> Explanation:
    """Explain a round that ended in its collection: nothing was handed over, so names come from the health.

    ``inactive`` are the instances that were not active then.
    """
    reason = DropReason.NOT_ACTIVE
    return Explanation(
        round_id=event.round_id,
        outcome="abandoned",
        sentence=abandonment(event),
        cohort=event.instance_count,
        quorum=event.min_instances,
        criteria=(),
        dropped=tuple(Dropped(name, reason, DROPPED_BECAUSE[reason]) for name in inactive[:NAMED]),
        dropped_count=dict(event.dropped),
        stragglers=(),
        straggler_count=0,
        unacknowledged=(),
        unacknowledged_count=0,
        phases=(),
        library=None,
        released=None,
        withheld=None,
        emerged=None,
        commands=event.commands,
    )


def abandonment(event: RoundAbandoned) -> str:
    """Return in one sentence why a round was abandoned."""
    left = ", ".join(f"{count} {words(reason)}" for reason, count in sorted(event.dropped.items()))
    return (
        f"Abandoned in {event.phase}: {event.instance_count} in the cohort, {event.min_instances} are needed"
        + (f"; left out: {left}." if left else "; nobody else has an admitted report.")
    )


def words(name: str) -> str:
    """Return a name of the contract as a person says it."""
    return name.replace("_", " ")


def listing(names: Sequence[str]) -> str:
    """Return names as a sentence lists them."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _outcome(detected: DetectionCompleted | None, abandoned: RoundAbandoned | None) -> str:
    if abandoned is not None:
        return "abandoned"
    if detected is None:
        return "running"
    return "converged" if detected.converged else "not_converged"


def _sentence(criteria: Sequence[CriterionView], cohort: int, *, converged: bool | None) -> str:
    if converged is None:
        return "The round is under way."
    if converged:
        return "Converged: every criterion is met."
    if not cohort:
        return "Not converged: nobody is in the cohort."
    unmet = sorted((one for one in criteria if not one.met), key=lambda one: one.distance)
    sentence = f"Not converged: {', '.join(map(_lacks, unmet))}."
    if (first := unmet[0]).costliest:
        names = listing([cost.instance_id for cost in first.costliest])
        sentence += f" {names} {'costs' if len(first.costliest) == 1 else 'cost'} {first.name} most."
    return sentence


def _lacks(criterion: CriterionView) -> str:
    value = shown(criterion.value, criterion.threshold)
    return f"{criterion.name} is {value} and must {criterion.must} {criterion.threshold:.2f}"


def shown(value: float, threshold: float) -> str:
    """Return a score with two decimals; with four where two would make it look like its threshold."""
    return short if (short := f"{value:.2f}") != f"{threshold:.2f}" else f"{value:.{_DECIMALS}f}"


def _criteria(detected: DetectionCompleted) -> tuple[CriterionView, ...]:
    return tuple(
        CriterionView(
            name=one.name,
            value=ratio(one.value),
            threshold=ratio(one.threshold),
            met=one.met,
            distance=ratio(one.distance),
            costliest=_costliest(detected, one),
        )
        for one in detected.criteria
    )


def ratio(value_micro: int) -> float:
    """Return micro-units as the public results have them."""
    return public(value_micro, _DECIMALS)


def _costliest(detected: DetectionCompleted, criterion: CriterionVerdict) -> tuple[Cost, ...]:
    costs = instance_costs(detected, criterion.name)
    rows = sorted((row for row in costs if costs[row] > 0), key=lambda row: (-costs[row], row))[:COSTLIEST]
    return tuple(
        Cost(detected.instances.instance_id[row], ratio(costs[row]), _because(detected, row, criterion.name))
        for row in rows
    )


def instance_costs(detected: DetectionCompleted, criterion: str) -> dict[int, int]:
    """Return by row of the cohort what the instance costs the criterion, micro-units (rounded down)."""
    instances, scores = detected.instances, detected.scores
    rows = [row for row, reason in enumerate(instances.drop_reason) if reason is None]
    total = sum(instances.weight[row] for row in rows)
    if not total or criterion == "emergence":
        return {}
    mean = detected.global_scores.weighted_mean_convergence if detected.global_scores else 0

    def cost(row: int) -> int:
        lack = MICRO - scores.alignment[row]
        if criterion == "convergence":
            return instances.weight[row] * (5 * (MICRO - scores.unified[row]) + 3 * lack) // (10 * total)
        if criterion == "alignment":
            return instances.weight[row] * lack // total
        return instances.weight[row] * (scores.unified[row] - mean) ** 2 // (total * MICRO)

    return {row: cost(row) for row in rows}


def _because(detected: DetectionCompleted, row: int, criterion: str) -> str:
    """Return the weak side of an instance, as far as the criterion looks at it."""
    scores = detected.scores
    coverage, alignment = scores.coverage[row], scores.alignment[row]
    of_library = f"holds {ratio(coverage):.0%} of what is shared"
    # Who holds little of the library cannot align with it either.
    apart = f"its strengths differ from the others' (alignment {ratio(alignment):.2f})"
    unaligned = of_library if coverage < _FAIR_COVERAGE else apart
    if criterion == "alignment":
        return unaligned
    # Of the convergence, 36/120 are alignment, 30/120 emergence, and 10/120 each of the other three.
    lacks = (
        (36 * (MICRO - alignment), unaligned),
        (
            30 * (MICRO - scores.emergence[row]),
            f"what it holds is not widely shared (emergence {ratio(scores.emergence[row]):.2f})",
        ),
        (10 * (MICRO - coverage), of_library),
        (
            10 * (MICRO - scores.quality[row]),
            f"its rows are uncertain (certainty {ratio(scores.quality[row]):.2f})",
        ),
        (
            10 * (MICRO - scores.participation[row]),
            f"was in {ratio(scores.participation[row]):.0%} of the last synchronizations",
        ),
    )
    return max(lacks)[1]


def _phases(event: HandOver, ended_ms: int | None) -> tuple[PhaseView, ...]:
    """Return the phases so far: one ends where the next one starts, the last one with the round."""
    started = [(phase, event.phase_started_ms[phase]) for phase in Phase if phase in event.phase_started_ms]
    ends = [*(at_ms for _, at_ms in started[1:]), ended_ms]
    return tuple(
        PhaseView(phase, at_ms, None if end is None else max(0, end - at_ms))
        for (phase, at_ms), end in zip(started, ends, strict=True)
    )
