"""The validation of a round: who is dropped, what weights are capped, whether the quorum holds."""

from typing import Any

from convergence.replay import weights
from convergence.replay.assembly import Round, Whole, same
from convergence.replay.findings import Comparison
from schemas.reasons import DropReason
from schemas.rounds import (
    AggregationCompleted,
    CollectionCompleted,
    Configuration,
    Phase,
    RoundInstances,
    RoundKind,
    ValidationCompleted,
)


def examine(
    one: Round, collected: Whole[CollectionCompleted], comparison: Comparison
) -> Whole[ValidationCompleted] | None:
    """Hold the validation against its collection; return it, or None for a round below its quorum."""
    event = collected.event
    instances = validated_instances(event)
    members = instances.drop_reason.count(None)
    if one.kind is RoundKind.SYNCHRONIZATION and members < event.configuration.min_instances:
        found = one.find(ValidationCompleted)
        comparison.values(f"{one.round_id}: a validation", None if found is None else found.name, None)
        return None
    reasons = dict(zip(instances.instance_id, instances.drop_reason, strict=True))
    covers = tuple(
        cover.model_copy(update={"outcome": str(reasons[cover.instance_id])})
        if cover.outcome == "included" and reasons.get(cover.instance_id) is not None
        else cover
        for cover in event.covers
    )
    fields = handed_on(event, Phase.VALIDATION, collected.append_ms)
    return same(one, ValidationCompleted(**fields | {"instances": instances, "covers": covers}), comparison)


def handed_on(
    event: CollectionCompleted | ValidationCompleted | AggregationCompleted, phase: Phase, started_ms: int
) -> dict[str, Any]:
    """Return the fields that a phase hands on as they are, and when it started."""
    return {name: getattr(event, name) for name in CollectionCompleted.model_fields} | {
        "phase_started_ms": event.phase_started_ms | {phase: started_ms}
    }


def validated_instances(event: CollectionCompleted) -> RoundInstances:
    """Return the instances with their last drop reasons and with capped weights, 0 outside the cohort."""
    instances = event.instances
    reasons = tuple(
        reason or _drop_reason(rows, quality, event.configuration)
        for reason, rows, quality in zip(
            instances.drop_reason, instances.rows, instances.data_quality, strict=True
        )
    )
    own = {
        instance: weight
        for instance, weight, reason in zip(instances.instance_id, instances.weight, reasons, strict=True)
        if reason is None
    }
    capped = weights.cap(own, dict(zip(instances.instance_id, instances.organisation, strict=True)))
    return instances.model_copy(
        update={
            "drop_reason": reasons,
            "weight": tuple(capped.get(instance, 0) for instance in instances.instance_id),
        }
    )


def _drop_reason(rows: int, quality: int, configuration: Configuration) -> DropReason | None:
    if rows == 0:
        return DropReason.NO_PATTERNS
    return DropReason.LOW_QUALITY if quality < configuration.min_data_quality else None
