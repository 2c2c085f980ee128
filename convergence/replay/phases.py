"""The phases of a round, one after the other, from what the collection decided and what the barrier names."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from convergence.replay import partials, reference, validation
from convergence.replay.assembly import Round, Whole, same, same_if_kept
from convergence.replay.collection import Collections
from convergence.replay.contributions import Contributions
from convergence.replay.findings import Comparison, Difference, DifferentError, OutsideError
from convergence.replay.knowledge import Ledger
from convergence.replay.log import Log
from convergence.replay.participation import Attendance
from convergence.replay.reference import Facts, Result, Row
from convergence.replay.reports import Reports
from convergence.replay.validation import handed_on
from schemas.aggregation import BarrierInstances, PartialAggregate, RoundBarrier
from schemas.reports import Contribution, PatternReport
from schemas.rounds import (
    AggregationCompleted,
    CollectionCompleted,
    CriterionVerdict,
    DetectionCompleted,
    GlobalScores,
    MemberScores,
    Participation,
    Phase,
    ReleaseCounts,
    RoundInstances,
    RoundKind,
    ValidationCompleted,
)

#: The scores of the federation: as the bus names them, as the reference does.
TERMS = {
    "global_convergence": "convergence",
    "pattern_alignment": "alignment",
    "global_emergence": "emergence",
    "convergence_variance": "variance",
    "mean_convergence": "mean",
    "weighted_mean_convergence": "weighted_mean",
}

#: In the order in which the bus has them.
CRITERIA = {
    "convergence": "min_convergence",
    "alignment": "min_alignment",
    "variance": "max_variance",
    "emergence": "min_emergence",
}


@dataclass
class Phases:
    """Recomputes the rounds of one federation, in the order in which they were collected."""

    log: Log
    federation: str
    reports: Reports
    contributions: Contributions
    collections: Collections
    attendance: Attendance
    #: Bucket -> what was released there.
    ledgers: dict[int, Ledger] = field(default_factory=dict)
    #: A synchronization could not be recomputed: what was released before is not known.
    ledgers_lost: bool = False

    def examine(self, one: Round, comparison: Comparison) -> Whole[DetectionCompleted] | None:
        """Hold every phase up to the detection against what follows; return the detection.

        Returns None for a round that was abandoned. Raises DifferentError, OutsideError, UnderWayError.
        """
        collected = one.find(CollectionCompleted)
        if collected is None:
            if self.log.is_cut(CollectionCompleted.topic):
                raise OutsideError("its collection is gone")
            return None
        self.collections.examine(one, collected, comparison)
        validated = validation.examine(one, collected, comparison)
        if validated is None:
            return None
        participation = self._participation(one, validated, comparison)
        self._barriers(one, validated, participation, comparison)
        result = self._compute(one, validated.event, participation)
        aggregated = self._aggregated(one, validated, participation, result, comparison)
        detected = self._detected(one, aggregated, result, comparison)
        self.collections.completed(collected.event)
        return detected

    # -- aggregation

    def _participation(
        self, one: Round, validated: Whole[ValidationCompleted], comparison: Comparison
    ) -> Participation:
        possible = self.attendance.possible(one)
        aggregated = one.find(AggregationCompleted)
        barrier = one.find(RoundBarrier, 0)
        recorded = None
        if aggregated is not None:
            recorded = aggregated.event.participation
        elif barrier is not None:
            instances = barrier.event.instances
            recorded = Participation(attended=instances.attended, counted=instances.counted)
        if recorded is None or recorded in possible:
            return recorded or possible[-1]
        if self.log.is_cut(ValidationCompleted.topic):
            return recorded  # what was before is gone
        comparison.events(f"the participation of {validated.event.round_id}", recorded, possible[-1])
        return recorded

    def _barriers(
        self,
        one: Round,
        validated: Whole[ValidationCompleted],
        participation: Participation,
        comparison: Comparison,
    ) -> None:
        event = validated.event
        instances = BarrierInstances(
            instance_id=event.instances.instance_id,
            organisation=event.instances.organisation,
            sequence=event.instances.sequence,
            weight=event.instances.weight,
            attended=participation.attended,
            counted=participation.counted,
        )
        for bucket in range(self._buckets):
            expected = RoundBarrier(
                federation=one.federation,
                round_id=one.round_id,
                kind=one.kind,
                number=one.number,
                part=0,
                parts=1,
                configuration=event.configuration,
                instances=instances,
            )
            barrier = same_if_kept(
                one, expected, comparison, self.log.start(Contribution.topic, bucket) > 0, bucket
            )
            if barrier is not None:
                self._named(one, event.instances, bucket, barrier.first_offset, comparison)

    def _named(
        self, one: Round, instances: RoundInstances, bucket: int, offset: int, comparison: Comparison
    ) -> None:
        """Compare what a barrier names with what stands in front of it."""
        if self.log.start(Contribution.topic, bucket) > 0:
            return
        for instance, sequence, weight in zip(
            instances.instance_id, instances.sequence, instances.weight, strict=True
        ):
            if weight:
                held = self.contributions.named(bucket, (one.federation, instance), sequence, offset)
                where = f"{one.round_id}: the contribution of {instance} in front of the barrier in {bucket}"
                comparison.values(where, None if held is None else held.sequence, sequence)
                if held is not None:
                    rows = self._rows(one, instance, sequence)
                    here = partials.held_in(rows, bucket, self._buckets)
                    comparison.values(f"{where}: its rows", held.rows, here)

    def _compute(self, one: Round, event: ValidationCompleted, participation: Participation) -> Result:
        instances = event.instances
        rows: dict[str, Mapping[str, Row]] = {}
        counted: dict[str, tuple[int, int]] = {}
        weighed: dict[str, int] = {}
        for row, instance in enumerate(instances.instance_id):
            if instances.drop_reason[row] is None:
                weighed[instance] = instances.weight[row]
                counted[instance] = (participation.attended[row], participation.counted[row])
                rows[instance] = self._rows(one, instance, instances.sequence[row])
        organisations = dict(zip(instances.instance_id, instances.organisation, strict=True))
        configuration = reference.Configuration(
            **{
                name: getattr(event.configuration, name)
                for name in reference.Configuration.__dataclass_fields__
            }
        )
        return reference.compute(rows, organisations, weighed, counted, configuration)

    def _rows(self, one: Round, instance: str, sequence: int) -> Mapping[str, Row]:
        """Return the rows of a named report: as it was judged, or as it stands in the buckets."""
        address = (one.federation, instance)
        taken = self.reports.taken.get(address, {}).get(sequence)
        if taken is not None:
            return taken.rows
        found: dict[str, Row] = {}
        for bucket in range(self._buckets):
            held = self.contributions.buckets.get(bucket, {}).get(address, [])
            named = [each for each in held if each.sequence == sequence and not each.removed]
            if not named:
                if self.log.is_cut(Contribution.topic) or self.log.is_cut(PatternReport.topic):
                    raise OutsideError(f"the contribution {sequence} of {instance} is gone")
                where = f"{one.round_id}: the report {sequence} of {instance}"
                raise DifferentError(Difference(where, sequence, None))
            found |= named[0].rows
        return found

    def _aggregated(
        self,
        one: Round,
        validated: Whole[ValidationCompleted],
        participation: Participation,
        result: Result,
        comparison: Comparison,
    ) -> Whole[AggregationCompleted]:
        event = validated.event
        rows, weighed = self._cohort(one, event)
        releases: list[ReleaseCounts] = []
        for bucket in range(self._buckets):
            here = partials.held_in(result.aggregates, bucket, self._buckets)
            sums = partials.member_sums(here, rows, weighed)
            counts = self._released(one, bucket, here, result)
            releases += [counts] if counts is not None else []
            expected = PartialAggregate(
                federation=one.federation,
                round_id=one.round_id,
                bucket=bucket,
                buckets=self._buckets,
                part=0,
                parts=1,
                sums=partials.columns(weighed, sums),
                library=partials.library_sums(here),
                releases=counts,
            )
            same_if_kept(one, expected, comparison, self.log.is_cut(PartialAggregate.topic), bucket)
        sums = partials.member_sums(result.aggregates, rows, weighed)
        expected_whole = AggregationCompleted(
            **handed_on(event, Phase.AGGREGATION, validated.append_ms),
            participation=participation,
            sums=partials.columns(event.instances.instance_id, sums),
            library=partials.library_sums(result.aggregates),
            releases=_total(releases) if one.kind is RoundKind.SYNCHRONIZATION else None,
        )
        return same(one, expected_whole, comparison)

    def _cohort(
        self, one: Round, event: ValidationCompleted
    ) -> tuple[dict[str, Mapping[str, Row]], dict[str, int]]:
        instances = event.instances
        weighed = {
            instance: weight
            for instance, weight, reason in zip(
                instances.instance_id, instances.weight, instances.drop_reason, strict=True
            )
            if reason is None
        }
        sequences = dict(zip(instances.instance_id, instances.sequence, strict=True))
        return {instance: self._rows(one, instance, sequences[instance]) for instance in weighed}, weighed

    def _released(
        self, one: Round, bucket: int, here: Mapping[str, Facts], result: Result
    ) -> ReleaseCounts | None:
        if one.kind is RoundKind.UPDATE:
            return None
        releases = {signature: facts for signature, facts in result.releases.items() if signature in here}
        barrier = one.find(RoundBarrier, bucket)
        barrier_ms = 0 if barrier is None else barrier.append_ms
        ledger = self.ledgers.setdefault(bucket, Ledger())
        counts = ledger.release(one, bucket, releases, len(here), barrier_ms)
        if not self.ledgers_lost:
            return counts
        recorded = one.find(PartialAggregate, bucket)
        if recorded is None or recorded.event.releases is None:
            return counts
        given = recorded.event.releases
        return counts.model_copy(update={"emerged": given.emerged, "emerged_ids": given.emerged_ids})

    # -- detection

    def _detected(
        self, one: Round, aggregated: Whole[AggregationCompleted], result: Result, comparison: Comparison
    ) -> Whole[DetectionCompleted]:
        event = aggregated.event
        instances = event.instances.instance_id
        configuration = event.configuration
        fields = handed_on(event, Phase.DETECTION, aggregated.append_ms)
        expected = DetectionCompleted(
            **{name: fields[name] for name in CollectionCompleted.model_fields},
            scores=MemberScores(
                **{
                    name: tuple(result.instances.get(each, {}).get(name, 0) for each in instances)
                    for name in MemberScores.model_fields
                }
            ),
            global_scores=GlobalScores(**{ours: result.federation[term] for ours, term in TERMS.items()}),
            criteria=tuple(
                CriterionVerdict(
                    name=name,  # type: ignore[arg-type]  # the four names
                    threshold=getattr(configuration, threshold),
                    **result.criteria[name],
                )
                for name, threshold in CRITERIA.items()
            ),
            converged=bool(result.instances) and result.converged,
            library=result.federation["library"],
            releases=event.releases,
        )
        return same(one, expected, comparison)

    # -- comparing

    @property
    def _buckets(self) -> int:
        return self.log.partitions[Contribution.topic]


def _total(counts: list[ReleaseCounts]) -> ReleaseCounts:
    return ReleaseCounts(
        released=sum(each.released for each in counts),
        withheld=sum(each.withheld for each in counts),
        emerged=sum(each.emerged for each in counts),
        emerged_ids=tuple(sorted(signature for each in counts for signature in each.emerged_ids)),
    )
