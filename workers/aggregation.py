"""The aggregation of one bucket: what every instance contributes to it, and its answer to every barrier.

A partial is a pure function of the barrier and of the contributions that it names: the configuration is the
barrier's, newer contributions wait beside the named ones. What a synchronization may release is written
straight to the bucket's partition of the knowledge, so that nobody ever carries the patterns of all buckets.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from learning.aggregation import Method, aggregate
from learning.cells import Cells, Members
from learning.partial import partial
from learning.release import Release, releases
from schemas.aggregation import BarrierInstances, PartialAggregate, RoundBarrier
from schemas.columns import ROW, Rows, decode
from schemas.knowledge import AggregatedPattern, KnowledgeMark
from schemas.reasons import Reason
from schemas.reports import Contribution
from schemas.rounds import ReleaseCounts, RoundKind
from workers.aggregation_state import AggregationState
from workers.fold import Emit, Outcome, Record, Step
from workers.handover import concatenated, count_of_parts, emit, rows_of_part, sliced
from workers.internal import Malformed, OneByOne, read
from workers.sums import column_sums, library_columns, members

#: So many emerged patterns of a bucket are named.
MAX_EMERGED_IDS = 100


class OutsideWindowError(LookupError):
    """Raised when a contribution that a barrier weighs is gone: the round cannot be computed again."""


class Aggregation(OneByOne[AggregationState]):
    """From contributions and barriers to partials and knowledge, in one bucket."""

    name = "aggregation"
    inputs = (Contribution.topic,)
    outputs = (PartialAggregate.topic, AggregatedPattern.topic)
    flushed_lazily = True

    def state(self) -> AggregationState:
        """Return the empty state."""
        return AggregationState()

    def take(self, state: AggregationState, record: Record, step: Step) -> Outcome:
        """Keep a contribution; answer the barrier that the record makes whole.

        Raises OutsideWindowError.
        """
        outcome, barrier = self._keep(state, record)
        if barrier is not None:
            self._answer(state, *barrier, record.append_ms, step)
        return outcome

    def again(self, state: AggregationState, records: Sequence[Record]) -> None:
        """Fold what was answered before: of an update nothing is left but the cut."""
        for record in records:
            try:
                _, barrier = self._keep(state, record)
            except Malformed:
                self.step(state, [record])  # refused again: the state says how many letters there are
                continue
            if barrier is None:
                continue
            if barrier[0].kind is RoundKind.UPDATE:
                _cut(state, *barrier)
            else:
                self._answer(state, *barrier, record.append_ms, Step())

    def _keep(
        self, state: AggregationState, record: Record
    ) -> tuple[Outcome, tuple[RoundBarrier, BarrierInstances] | None]:
        """Keep what a record brings; return the barrier that it makes whole, with all its instances."""
        event = read(record, Contribution, RoundBarrier)
        if isinstance(event, Contribution):
            return Outcome.ACCEPTED if state.take(event, _rows(event)) else Outcome.DUPLICATE, None
        if not isinstance(event, RoundBarrier):
            return Outcome.ACCEPTED, None
        if state.barriers.seen(event):
            return Outcome.DUPLICATE, None
        parts = state.barriers.take(event)
        if parts is None:
            return Outcome.ACCEPTED, None
        return Outcome.ACCEPTED, (event, concatenated([part.instances for part in parts]))

    def _answer(
        self,
        state: AggregationState,
        barrier: RoundBarrier,
        instances: BarrierInstances,
        now_ms: int,
        step: Step,
    ) -> None:
        _cut(state, barrier, instances)
        cells, cohort = _cells(state, barrier, instances)
        configuration = barrier.configuration
        aggregates = aggregate(cells, cohort, Method(configuration.method, configuration.trim))
        sums = partial(cells, cohort, aggregates)
        counts = None
        if barrier.kind is RoundKind.SYNCHRONIZATION:
            released = releases(aggregates, configuration.release_threshold)
            emerged = [release.pattern_id for release in released if not _known(state, barrier, release)]
            counts = ReleaseCounts(
                released=len(released),
                withheld=sums.library.distinct - len(released),
                emerged=len(emerged),
                emerged_ids=tuple(emerged[:MAX_EMERGED_IDS]),
            )
            step.emits += self._publish(state, barrier, released, now_ms)
        columns = column_sums(sums)
        parts = count_of_parts(len(columns))
        for part in range(parts):
            last = part == parts - 1
            answer = PartialAggregate(
                federation=barrier.federation,
                round_id=barrier.round_id,
                bucket=self.context.partition,
                buckets=self.context.partitions[Contribution.topic],
                part=part,
                parts=parts,
                sums=sliced(columns, rows_of_part(part)),
                library=library_columns(sums) if last else None,
                releases=counts if last else None,
            )
            event_id = f"{barrier.round_id}/partial/{self.context.partition}/{part}"
            step.emits.append(emit(self.context, answer, barrier.round_id, event_id, now_ms))

    def _publish(
        self, state: AggregationState, barrier: RoundBarrier, released: Sequence[Release], now_ms: int
    ) -> Iterator[Emit]:
        """Yield what changed since the last synchronization, what is withdrawn, and the mark."""
        federation = barrier.federation

        def known(event: AggregatedPattern | KnowledgeMark | None, key: str, name: str) -> Emit:
            event_id = f"{barrier.round_id}/knowledge/{self.context.partition}/{name}"
            return Emit(AggregatedPattern.topic, self.context.partition, key, event, event_id, now_ms)

        for release in released:
            before = state.released.get(federation, release.pattern_id)
            if before == tuple(release):
                continue
            state.released.put(federation, release.pattern_id, tuple(release))
            pattern = AggregatedPattern(
                federation=federation,
                round_id=barrier.round_id,
                number=barrier.number,
                aggregated_at=now_ms,
                **release._asdict(),
            )
            yield known(pattern, f"{federation}/{release.pattern_id}", release.pattern_id)
        now_released = {release.pattern_id for release in released}
        for pattern_id, before in sorted(state.released.of(federation).items()):
            if before and pattern_id not in now_released:
                state.released.put(federation, pattern_id, ())
                yield known(None, f"{federation}/{pattern_id}", pattern_id)
        mark = KnowledgeMark(
            federation=federation,
            round_id=barrier.round_id,
            number=barrier.number,
            bucket=self.context.partition,
            patterns=len(released),
        )
        yield known(mark, f"mark/{federation}", "mark")


def _rows(contribution: Contribution) -> Rows:
    try:
        return decode(contribution)
    except ValueError:
        raise Malformed(Reason.INVALID_VALUE) from None


def _known(state: AggregationState, barrier: RoundBarrier, release: Release) -> bool:
    return state.released.get(barrier.federation, release.pattern_id) is not None


def _cut(state: AggregationState, barrier: RoundBarrier, instances: BarrierInstances) -> None:
    state.cut(barrier.federation, dict(zip(instances.instance_id, instances.sequence, strict=True)))


def _cells(
    state: AggregationState, barrier: RoundBarrier, instances: BarrierInstances
) -> tuple[Cells, Members]:
    """Return the rows of the cohort and the cohort, in the order of the barrier."""
    organisations, weights, chunks, counts = [], [], [], []
    for instance, organisation, sequence, weight in zip(
        instances.instance_id, instances.organisation, instances.sequence, instances.weight, strict=True
    ):
        if weight == 0:
            continue
        held = state.named.get(barrier.federation, instance)
        if held is None or held.sequence != sequence:
            raise OutsideWindowError(f"{barrier.round_id}: {instance} has no contribution {sequence}")
        organisations.append(organisation)
        weights.append(weight)
        chunks.append(held.rows)
        counts.append(len(held.rows) // ROW.itemsize)
    cells = Cells(
        np.repeat(np.arange(len(counts), dtype=np.int32), counts),
        np.frombuffer(b"".join(chunks), dtype=ROW),
        tuple(state.words.get(barrier.federation) or ("",)),
    )
    return cells, members(organisations, weights)
