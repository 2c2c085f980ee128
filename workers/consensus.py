"""The aggregation phase: cuts every bucket with one barrier, and merges what the buckets answer."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from learning.partial import merge
from schemas.aggregation import BarrierInstances, PartialAggregate, RoundBarrier
from schemas.event import Event
from schemas.reports import Contribution
from schemas.rounds import (
    AggregationCompleted,
    MemberSums,
    Participation,
    Phase,
    ReleaseCounts,
    RoundKind,
    ValidationCompleted,
)
from workers.fold import Emit, Outcome, Record, State, Step, Table
from workers.handover import (
    Parts,
    concatenated,
    count_of_parts,
    hand_over,
    join,
    rows_of_part,
    sliced,
    split,
)
from workers.internal import OneByOne, read
from workers.sums import learned, library_columns, spread

#: Participation looks at so many completed synchronizations.
PARTICIPATION_WINDOW = 10


@dataclass(frozen=True, slots=True)
class Attendance:
    """In which of the last completed synchronizations an instance was."""

    #: Number of the last synchronization cut before a barrier first named the instance; later ones count.
    since: int
    #: One bit for each of the last ones that count, the newest lowest.
    bits: int = 0
    #: How many count.
    counted: int = 0

    def after(self, number: int, *, member: bool) -> "Attendance":
        """Return the attendance once synchronization ``number`` is complete."""
        if number <= self.since:
            return self
        bits = (self.bits << 1 | member) & ((1 << PARTICIPATION_WINDOW) - 1)
        return Attendance(self.since, bits, min(PARTICIPATION_WINDOW, self.counted + 1))


class ConsensusState(State):
    """What a partition's federations wait for."""

    def __init__(self) -> None:
        self.validated = Parts(ValidationCompleted)
        #: round_id/part -> the hand-over to come, as it stood at the barrier; the sums are still missing.
        self.cut: Table[AggregationCompleted] = Table("cut", AggregationCompleted, encode=Event.encode)
        #: round_id/bucket/part -> what a bucket has answered.
        self.partials: Table[PartialAggregate] = Table("partials", PartialAggregate, encode=Event.encode)
        #: instance_id -> where it was; kept over deregistrations, for new keys keep the history.
        self.attendance: Table[Attendance] = Table("attendance", Attendance)
        #: Number of the last synchronization that was cut.
        self.synchronizations: Table[int] = Table("synchronizations", int)
        super().__init__(
            *self.validated.tables(), self.cut, self.partials, self.attendance, self.synchronizations
        )


class Consensus(OneByOne[ConsensusState]):
    """From ValidationCompleted to barriers, and from the partials of all buckets to AggregationCompleted."""

    name = "consensus"
    inputs = (ValidationCompleted.topic, PartialAggregate.topic)
    outputs = (RoundBarrier.topic, AggregationCompleted.topic)

    def state(self) -> ConsensusState:
        """Return the empty state."""
        return ConsensusState()

    def take(self, state: ConsensusState, record: Record, step: Step) -> Outcome:
        """Cut the validated round that the record makes whole, or complete the one that it answers."""
        event = read(record, ValidationCompleted, PartialAggregate)
        if isinstance(event, PartialAggregate):
            return self._answered(state, event, record.append_ms, step)
        if isinstance(event, ValidationCompleted):
            if state.validated.seen(event):
                return Outcome.DUPLICATE
            if (parts := state.validated.take(event)) is not None:
                self._cut(state, join(parts), record.append_ms, step)
        return Outcome.ACCEPTED

    def _cut(self, state: ConsensusState, validated: ValidationCompleted, now_ms: int, step: Step) -> None:
        federation = validated.federation
        if validated.kind is RoundKind.SYNCHRONIZATION:
            state.synchronizations.put(federation, "", validated.number)
        participation = self._participation(state, validated)
        draft = AggregationCompleted.model_construct(
            None,
            **dict(validated)
            | {
                "phase_started_ms": validated.phase_started_ms | {Phase.AGGREGATION: now_ms},
                "participation": participation,
                "sums": MemberSums.model_construct(None, **dict.fromkeys(MemberSums.model_fields, ())),
                "library": None,
                "releases": None,
            },
        )
        for part in split(draft):
            state.cut.put(federation, f"{part.round_id}/{part.part:07d}", part)
        step.emits += self._barriers(draft, now_ms)

    def _participation(self, state: ConsensusState, validated: ValidationCompleted) -> Participation:
        federation = validated.federation
        cut = state.synchronizations.get(federation) or 0
        before = cut - 1 if validated.kind is RoundKind.SYNCHRONIZATION else cut
        attended, counted = [], []
        for instance in validated.instances.instance_id:
            attendance = state.attendance.get(federation, instance)
            if attendance is None:
                attendance = Attendance(since=before)
                state.attendance.put(federation, instance, attendance)
            attended.append(attendance.bits.bit_count())
            counted.append(attendance.counted)
        return Participation(attended=tuple(attended), counted=tuple(counted))

    def _barriers(self, draft: AggregationCompleted, now_ms: int) -> Iterator[Emit]:
        instances = BarrierInstances.model_construct(
            None,
            instance_id=draft.instances.instance_id,
            organisation=draft.instances.organisation,
            sequence=draft.instances.sequence,
            weight=draft.instances.weight,
            attended=draft.participation.attended,
            counted=draft.participation.counted,
        )
        parts = count_of_parts(len(instances))
        for bucket in range(self.context.partitions[Contribution.topic]):
            for part in range(parts):
                barrier = RoundBarrier(
                    federation=draft.federation,
                    round_id=draft.round_id,
                    kind=draft.kind,
                    number=draft.number,
                    part=part,
                    parts=parts,
                    configuration=draft.configuration,
                    instances=sliced(instances, rows_of_part(part)),
                )
                event_id = f"{draft.round_id}/barrier/{bucket}/{part}"
                yield Emit(RoundBarrier.topic, bucket, None, barrier, event_id, now_ms)

    def _answered(self, state: ConsensusState, answer: PartialAggregate, now_ms: int, step: Step) -> Outcome:
        federation, round_id = answer.federation, answer.round_id
        first = state.cut.get(federation, f"{round_id}/{0:07d}")
        key = f"{round_id}/{answer.bucket:04d}/{answer.part:07d}"
        if first is None or state.partials.get(federation, key) is not None:
            return Outcome.DUPLICATE
        state.partials.put(federation, key, answer)
        answers = state.partials.of(federation)
        keys = [
            f"{round_id}/{bucket:04d}/{part:07d}"
            for bucket in range(answer.buckets)
            for part in range(answer.parts)
        ]
        if all(key in answers for key in keys):
            self._complete(state, first, [answers[key] for key in keys], now_ms, step)
        return Outcome.ACCEPTED

    def _complete(
        self,
        state: ConsensusState,
        first: AggregationCompleted,
        answers: Sequence[PartialAggregate],
        now_ms: int,
        step: Step,
    ) -> None:
        federation, round_id = first.federation, first.round_id
        cut_keys = [f"{round_id}/{part:07d}" for part in range(first.parts)]
        draft = join([state.cut.of(federation)[key] for key in cut_keys])
        merged = merge([learned(*bucket) for bucket in _buckets(answers)])
        completed = draft.model_copy(
            update={
                "sums": spread(MemberSums, merged.member_lists(), draft.instances.drop_reason),
                "library": library_columns(merged),
                "releases": _releases(answers),
            }
        )
        step.emits += hand_over(self.context, completed, Phase.AGGREGATION, now_ms)
        if draft.kind is RoundKind.SYNCHRONIZATION:
            _attend(state, draft)
        for key in cut_keys:
            state.cut.delete(federation, key)
        for answer in answers:
            state.partials.delete(federation, f"{round_id}/{answer.bucket:04d}/{answer.part:07d}")


def _buckets(answers: Sequence[PartialAggregate]) -> Iterator[tuple[MemberSums, Any]]:
    """Yield the sums of each bucket, whose parts follow each other."""
    for start in range(0, len(answers), answers[0].parts):
        parts = answers[start : start + answers[0].parts]
        yield concatenated([part.sums for part in parts]), parts[-1].library


def _releases(answers: Sequence[PartialAggregate]) -> ReleaseCounts | None:
    counts = [answer.releases for answer in answers if answer.releases is not None]
    if not counts:
        return None
    return ReleaseCounts(
        released=sum(count.released for count in counts),
        withheld=sum(count.withheld for count in counts),
        emerged=sum(count.emerged for count in counts),
        emerged_ids=tuple(sorted(pattern for count in counts for pattern in count.emerged_ids)),
    )


def _attend(state: ConsensusState, completed: AggregationCompleted) -> None:
    """Count a completed synchronization for every instance that a barrier named up to its own."""
    instances = completed.instances
    members = {
        instance
        for instance, reason in zip(instances.instance_id, instances.drop_reason, strict=True)
        if reason is None
    }
    for instance, attendance in list(state.attendance.of(completed.federation).items()):
        after = attendance.after(completed.number, member=instance in members)
        if after is not attendance:
            state.attendance.put(completed.federation, instance, after)
