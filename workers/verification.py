"""The verification phase: the public result of a synchronization, with its durations and warnings."""

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

from schemas.convergence import SynchronizationCompleted
from schemas.rounds import DistributionCompleted, Phase
from workers.abandonment import dropped_counts
from workers.fold import Emit, Outcome, Record, State, Step
from workers.handover import Parts, emit, join
from workers.internal import OneByOne, read
from workers.results import result_parts

#: Against c colluding organisations a release threshold of k protects as k - c would; below this it is thin.
ADVISED_RELEASE_THRESHOLD = 5


class VerificationState(State):
    """The parts of distributions that have not all arrived."""

    def __init__(self) -> None:
        self.distributions = Parts(DistributionCompleted)
        super().__init__(*self.distributions.tables())


class Verification(OneByOne[VerificationState]):
    """From DistributionCompleted to SynchronizationCompleted."""

    name = "verification"
    inputs = (DistributionCompleted.topic,)
    outputs = (SynchronizationCompleted.topic,)

    def state(self) -> VerificationState:
        """Return the empty state."""
        return VerificationState()

    def take(self, state: VerificationState, record: Record, step: Step) -> Outcome:
        """Publish the result of the distribution that the record makes whole."""
        part = read(record, DistributionCompleted)
        if part is None:
            return Outcome.ACCEPTED
        if state.distributions.seen(part):
            return Outcome.DUPLICATE
        if (parts := state.distributions.take(part)) is not None:
            step.emits += self._publish(join(parts), record.append_ms)
        return Outcome.ACCEPTED

    def _publish(self, distributed: DistributionCompleted, now_ms: int) -> Iterator[Emit]:
        instances = distributed.instances
        started_ms = [distributed.phase_started_ms[phase] for phase in list(Phase)[:-1]]
        durations = [max(0, after - before) for before, after in pairwise((*started_ms, now_ms))]
        facts: dict[str, Any] = {
            "commands": distributed.commands,
            "instances_synced": instances.drop_reason.count(None),
            "stragglers": _stragglers(distributed),
            "dropped": dropped_counts(instances),
            "patterns_emerged": 0 if distributed.releases is None else distributed.releases.emerged,
            "acknowledged": len(distributed.acknowledged),
            "sync_duration_ms": max(0, now_ms - distributed.opened_at_ms),
            "phase_duration_ms": dict(zip(Phase, durations, strict=False)),
            "next_sync_window": distributed.next_window_ms,
            "errors": (),
            "warnings": tuple(_warnings(distributed)),
        }
        for fields in result_parts(distributed, now_ms, covered_only=False):
            completed = SynchronizationCompleted(
                **fields, **facts, convergence_score=fields["global_convergence"]
            )
            event_id = f"{distributed.round_id}/result/{completed.part}"
            yield emit(self.context, completed, distributed.federation, event_id, now_ms)


def _stragglers(distributed: DistributionCompleted) -> int:
    instances = distributed.instances
    return sum(
        straggler and reason is None
        for straggler, reason in zip(instances.straggler, instances.drop_reason, strict=True)
    )


def _warnings(distributed: DistributionCompleted) -> Iterator[str]:
    """Yield what the operator should look at, in counts: names stand on the rounds topic only."""
    if stragglers := _stragglers(distributed):
        yield f"{stragglers} of the cohort did not report in time and are in with an earlier report"
    if missing := len(distributed.missing):
        yield f"{missing} instances did not acknowledge the knowledge in time"
    threshold = distributed.configuration.release_threshold
    if threshold < ADVISED_RELEASE_THRESHOLD:
        yield f"the release threshold of {threshold} is below {ADVISED_RELEASE_THRESHOLD} organisations"
