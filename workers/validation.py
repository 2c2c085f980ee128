"""The validation phase: drops what cannot count, caps the weights, and checks the quorum again."""

import numpy as np

from learning.weights import cap
from schemas.convergence import RoundAbandoned
from schemas.reasons import DropReason
from schemas.rounds import (
    CollectionCompleted,
    Configuration,
    Cover,
    Phase,
    RoundInstances,
    RoundKind,
    ValidationCompleted,
)
from workers.abandonment import abandon
from workers.fold import Outcome, Record, State, Step
from workers.handover import Parts, hand_over, join
from workers.internal import OneByOne, read


class ValidationState(State):
    """The parts of collections that have not all arrived."""

    def __init__(self) -> None:
        self.collections = Parts(CollectionCompleted)
        super().__init__(*self.collections.tables())


class Validation(OneByOne[ValidationState]):
    """From CollectionCompleted to ValidationCompleted, or RoundAbandoned below the quorum."""

    name = "validation"
    inputs = (CollectionCompleted.topic,)
    outputs = (ValidationCompleted.topic, RoundAbandoned.topic)

    def state(self) -> ValidationState:
        """Return the empty state."""
        return ValidationState()

    def take(self, state: ValidationState, record: Record, step: Step) -> Outcome:
        """Validate the collection that the record makes whole."""
        part = read(record, CollectionCompleted)
        if part is None:
            return Outcome.ACCEPTED
        if state.collections.seen(part):
            return Outcome.DUPLICATE
        if (parts := state.collections.take(part)) is not None:
            self._validate(join(parts), record.append_ms, step)
        return Outcome.ACCEPTED

    def _validate(self, collected: CollectionCompleted, now_ms: int, step: Step) -> None:
        instances = validated(collected.instances, collected.configuration)
        members = instances.drop_reason.count(None)
        quorum = collected.configuration.min_instances
        if collected.kind is RoundKind.SYNCHRONIZATION and members < quorum:
            step.emits.append(abandon(self.context, collected, instances, Phase.VALIDATION, now_ms))
            return
        completed = ValidationCompleted.model_construct(
            None,
            **dict(collected)
            | {
                "phase_started_ms": collected.phase_started_ms | {Phase.VALIDATION: now_ms},
                "instances": instances,
                "covers": corrected(collected.covers, instances),
            },
        )
        step.emits += hand_over(self.context, completed, Phase.VALIDATION, now_ms)


def validated(instances: RoundInstances, configuration: Configuration) -> RoundInstances:
    """Return the instances with their last drop reasons and with capped weights, 0 outside the cohort."""
    dropped = tuple(
        reason or _reason(rows, quality, configuration)
        for reason, rows, quality in zip(
            instances.drop_reason, instances.rows, instances.data_quality, strict=True
        )
    )
    members = [row for row, reason in enumerate(dropped) if reason is None]
    weights = [0] * len(dropped)
    if members:
        _, organisation = np.unique([instances.organisation[row] for row in members], return_inverse=True)
        capped = cap(np.array([instances.weight[row] for row in members], dtype=np.int64), organisation)
        for row, weight in zip(members, capped.tolist(), strict=True):
            weights[row] = weight
    return instances.model_copy(update={"drop_reason": dropped, "weight": tuple(weights)})


def _reason(rows: int, data_quality: int, configuration: Configuration) -> DropReason | None:
    if rows == 0:
        return DropReason.NO_PATTERNS
    return DropReason.LOW_QUALITY if data_quality < configuration.min_data_quality else None


def corrected(covers: tuple[Cover, ...], instances: RoundInstances) -> tuple[Cover, ...]:
    """Return the covers with the reasons that the validation found; a refusal stays what it is."""
    reasons = dict(zip(instances.instance_id, instances.drop_reason, strict=True))
    return tuple(
        cover.model_copy(update={"outcome": str(reason)})
        if cover.outcome == "included" and (reason := reasons[cover.instance_id]) is not None
        else cover
        for cover in covers
    )
