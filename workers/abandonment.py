"""How a round ends below its quorum, in the collection or in the validation."""

from collections import Counter

from schemas.convergence import RoundAbandoned
from schemas.reasons import AbandonReason, DropReason
from schemas.rounds import CollectionCompleted, Phase, RoundInstances
from workers.fold import Context, Emit
from workers.handover import emit


def abandon(
    context: Context, collected: CollectionCompleted, instances: RoundInstances, phase: Phase, now_ms: int
) -> Emit:
    """Return the public end of a round whose cohort is below the quorum."""
    abandoned = RoundAbandoned(
        federation=collected.federation,
        round_id=collected.round_id,
        kind=collected.kind,
        number=collected.number,
        timestamp=now_ms,
        phase=phase,
        reason=AbandonReason.BELOW_QUORUM,
        instance_count=instances.drop_reason.count(None),
        min_instances=collected.configuration.min_instances,
        dropped=dropped_counts(instances),
        commands=collected.commands,
        next_sync_window=collected.next_window_ms,
    )
    return emit(context, abandoned, collected.federation, f"{collected.round_id}/abandoned", now_ms)


def dropped_counts(instances: RoundInstances) -> dict[DropReason, int]:
    """Return how many instances were left out, by reason."""
    return dict(Counter(reason for reason in instances.drop_reason if reason is not None))
