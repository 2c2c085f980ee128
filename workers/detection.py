"""The detection phase: scores, the four criteria, and what emerged."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass

from learning.criteria import Thresholds, converged, judge
from learning.scores import score
from schemas.convergence import ConvergenceUpdated, PatternEmerged
from schemas.event import MICRO
from schemas.rounds import (
    AggregationCompleted,
    Configuration,
    CriterionVerdict,
    DetectionCompleted,
    GlobalScores,
    MemberScores,
    Phase,
    ReleaseCounts,
    RoundKind,
)
from workers.fold import Emit, Measure, Observation, Outcome, Record, State, Step, Table
from workers.handover import Parts, emit, hand_over, join
from workers.internal import OneByOne, read
from workers.results import result_parts
from workers.sums import cohort_rows, learned, members, spread


@dataclass(frozen=True, slots=True)
class Latest:
    """What the last round of a federation found, for those who watch; scores in micro-units."""

    convergence: int
    alignment: int
    emergence: int
    #: Patterns withheld in the last synchronization.
    withheld: int


class DetectionState(State):
    """The parts of aggregations that have not all arrived, and what was found last."""

    def __init__(self) -> None:
        self.aggregations = Parts(AggregationCompleted)
        self.latest: Table[Latest] = Table("latest", Latest)
        super().__init__(*self.aggregations.tables(), self.latest)

    def found(self, federation: str, scores: GlobalScores, releases: ReleaseCounts | None) -> None:
        """Take note of the result of a round."""
        before = self.latest.get(federation)
        withheld = releases.withheld if releases is not None else before.withheld if before is not None else 0
        latest = Latest(
            scores.global_convergence, scores.pattern_alignment, scores.global_emergence, withheld
        )
        self.latest.put(federation, "", latest)


class Detection(OneByOne[DetectionState]):
    """From AggregationCompleted to DetectionCompleted; an update ends here, with ConvergenceUpdated."""

    name = "detection"
    inputs = (AggregationCompleted.topic,)
    outputs = (DetectionCompleted.topic, ConvergenceUpdated.topic)

    def state(self) -> DetectionState:
        """Return the empty state."""
        return DetectionState()

    def take(self, state: DetectionState, record: Record, step: Step) -> Outcome:
        """Score the aggregation that the record makes whole."""
        part = read(record, AggregationCompleted)
        if part is None:
            return Outcome.ACCEPTED
        if state.aggregations.seen(part):
            return Outcome.DUPLICATE
        if (parts := state.aggregations.take(part)) is not None:
            now_ms = record.append_ms
            detected = _detect(join(parts), now_ms)
            if detected.global_scores is not None:
                state.found(detected.federation, detected.global_scores, detected.releases)
            step.emits += hand_over(self.context, detected, Phase.DETECTION, now_ms)
            is_update = detected.kind is RoundKind.UPDATE
            step.emits += (self._update if is_update else self._emerged)(detected, now_ms)
        return Outcome.ACCEPTED

    def observe(self, state: DetectionState) -> Iterator[Observation]:
        """Tell the scores of the last round of each federation."""
        for federation in state.latest.federations():
            latest = state.latest.get(federation)
            if latest is not None:
                of = (federation,)
                yield Observation(Measure.CONVERGENCE, of, latest.convergence / MICRO)
                yield Observation(Measure.ALIGNMENT, of, latest.alignment / MICRO)
                yield Observation(Measure.EMERGENCE, of, latest.emergence / MICRO)
                yield Observation(Measure.WITHHELD, of, latest.withheld)

    def _update(self, detected: DetectionCompleted, now_ms: int) -> Iterator[Emit]:
        for fields in result_parts(detected, now_ms, covered_only=True):
            event_id = f"{detected.round_id}/result/{fields['part']}"
            yield emit(self.context, ConvergenceUpdated(**fields), detected.federation, event_id, now_ms)

    def _emerged(self, detected: DetectionCompleted, now_ms: int) -> Iterator[Emit]:
        for pattern_id in () if detected.releases is None else detected.releases.emerged_ids:
            event = PatternEmerged(
                federation=detected.federation,
                round_id=detected.round_id,
                kind=detected.kind,
                number=detected.number,
                timestamp=now_ms,
                pattern_id=pattern_id,
            )
            event_id = f"{detected.round_id}/emerged/{pattern_id}"
            yield emit(self.context, event, detected.federation, event_id, now_ms)


def _detect(aggregated: AggregationCompleted, now_ms: int) -> DetectionCompleted:
    """Return the result of a round in micro-units."""
    if aggregated.library is None:
        raise ValueError(f"{aggregated.round_id} has no library")
    instances, participation = aggregated.instances, aggregated.participation
    rows = [row for row, reason in enumerate(instances.drop_reason) if reason is None]
    scores = score(
        learned(cohort_rows(aggregated.sums, rows), aggregated.library),
        members([instances.organisation[row] for row in rows], [instances.weight[row] for row in rows]),
        [(participation.attended[row], participation.counted[row]) for row in rows],
    )
    overall = GlobalScores(**asdict(scores.overall))
    criteria = judge(scores.overall, _thresholds(aggregated.configuration))
    return DetectionCompleted(
        **{name: getattr(aggregated, name) for name in _HANDED_ON},
        phase_started_ms=aggregated.phase_started_ms | {Phase.DETECTION: now_ms},
        scores=spread(MemberScores, vars(scores.members), instances.drop_reason),
        global_scores=overall,
        criteria=tuple(
            CriterionVerdict(
                name=criterion.name,
                value=criterion.value_micro,
                threshold=criterion.threshold_micro,
                met=criterion.met,
                distance=criterion.distance_micro,
            )
            for criterion in criteria
        ),
        converged=bool(rows) and converged(criteria),
        library=aggregated.library.library,
        releases=aggregated.releases,
    )


#: What a hand-over keeps from phase to phase.
_HANDED_ON = frozenset(DetectionCompleted.model_fields) & frozenset(AggregationCompleted.model_fields) - {
    "phase_started_ms",
    "library",
    "releases",
}


def _thresholds(configuration: Configuration) -> Thresholds:
    return Thresholds(
        convergence_micro=configuration.min_convergence,
        alignment_micro=configuration.min_alignment,
        variance_micro=configuration.max_variance,
        emergence_micro=configuration.min_emergence,
    )
