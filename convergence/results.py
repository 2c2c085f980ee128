"""From what is computed to what the API gives: micro-units to numbers, columns to objects."""

from collections.abc import Iterable
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any

import numpy as np

from convergence.local_federation import Member, Round
from convergence.types import (
    AggregatedPattern,
    GlobalConvergenceScore,
    InstanceScores,
    PatternQuality,
    PatternSignature,
    SynchronizationResult,
    at,
)
from learning.micro import U
from learning.scores import GlobalScores
from schemas.columns import ROW, signature_ids
from schemas.convergence import (
    PublicInstanceScores,
    RoundAbandoned,
    RoundResult,
    SynchronizationCompleted,
)
from schemas.knowledge import AggregatedPattern as ReleasedPattern
from schemas.rounds import GlobalScores as GlobalColumns

#: From these on a pattern is high or medium (medium needs the minimum certainty only).
HIGH_CERTAINTY, HIGH_STRENGTH, MEDIUM_STRENGTH = 0.9, 0.7, 0.5


def quality(strength: float, certainty: float, min_certainty: float) -> PatternQuality:
    """Return the quality of a pattern that has passed the gates."""
    if certainty >= HIGH_CERTAINTY and strength >= HIGH_STRENGTH:
        return PatternQuality.HIGH
    if certainty >= min_certainty and strength >= MEDIUM_STRENGTH:
        return PatternQuality.MEDIUM
    return PatternQuality.LOW


def pattern_signatures(
    member: Member, instance_id: str, words: tuple[str, ...], min_certainty: float
) -> list[PatternSignature]:
    """Return what an instance holds."""
    rows = np.frombuffer(member.rows, ROW)
    reported = at(member.vitals.admitted_ms or 0)
    return [
        PatternSignature(
            signature_id=signature_id,
            pattern_type=words[word],
            strength=strength / U,
            resonance=resonance / U,
            frequency=frequency,
            module_signatures=[],
            event_type_signatures=[],
            epistemic_certainty=certainty / U,
            quality=quality(strength / U, certainty / U, min_certainty),
            instance_id=instance_id,
            created_at=reported,
        )
        for signature_id, (_, strength, resonance, certainty, frequency, word) in zip(
            signature_ids(rows), rows.tolist(), strict=True
        )
    ]


def aggregated_patterns(done: Round, when: datetime, min_certainty: float) -> dict[str, AggregatedPattern]:
    """Return the library of a round by pattern id."""
    said = done.aggregates
    ids = said.signature_ids()
    order = np.argsort(said.row_of_cell, kind="stable")
    starts = np.searchsorted(said.row_of_cell[order], np.arange(len(said) + 1)).tolist()
    holders = done.cells.member[order].tolist()
    return {
        ids[row]: _aggregated(
            pattern_id=ids[row],
            pattern_type=said.words[int(said.pattern_type[row])],
            contributing_instances=[
                done.instance_ids[member] for member in sorted(holders[starts[row] : starts[row + 1]])
            ],
            instance_count=int(said.instance_count[row]),
            total_frequency=int(said.total_frequency[row]),
            average_strength=int(said.strength[row]) / U,
            average_resonance=int(said.resonance[row]) / U,
            average_epistemic_certainty=int(said.certainty[row]) / U,
            consensus_score=int(said.consensus_score[row]) / U,
            aggregated_at=when,
            min_certainty=min_certainty,
        )
        for row in np.flatnonzero(said.in_library).tolist()
    }


def in_ones(overall: GlobalScores) -> dict[str, Any]:
    """Return the scores of a federation by name, in [0, 1]."""
    return {name: value / U for name, value in asdict(overall).items()}


def released_pattern(released: ReleasedPattern, min_certainty: float) -> AggregatedPattern:
    """Return a pattern of the shared knowledge; who contributed is not known, and counts are rounded down."""
    return _aggregated(
        pattern_id=released.pattern_id,
        pattern_type=released.pattern_type,
        contributing_instances=[],
        instance_count=released.instance_count,
        total_frequency=released.total_frequency,
        average_strength=released.average_strength,
        average_resonance=released.average_resonance,
        average_epistemic_certainty=released.average_epistemic_certainty,
        consensus_score=released.consensus_score,
        aggregated_at=at(released.aggregated_at),
        min_certainty=min_certainty,
    )


def _aggregated(*, min_certainty: float, **said: Any) -> AggregatedPattern:
    """Return an aggregate; it stands as a signature of nobody's, too."""
    strength, certainty = said["average_strength"], said["average_epistemic_certainty"]
    signature = PatternSignature(
        signature_id=said["pattern_id"],
        pattern_type=said["pattern_type"],
        strength=strength,
        resonance=said["average_resonance"],
        frequency=said["total_frequency"],
        module_signatures=[],
        event_type_signatures=[],
        epistemic_certainty=certainty,
        quality=quality(strength, certainty, min_certainty),
        instance_id="",
        created_at=said["aggregated_at"],
    )
    return AggregatedPattern(aggregated_signature=signature, **said)


def global_score(done: Round, when: datetime) -> GlobalConvergenceScore:
    """Return the scores of a round in this process."""
    overall, columns = done.scores.overall, vars(done.scores.members)
    scores = {name: (column / U).tolist() for name, column in columns.items()}
    rows = np.bincount(done.cells.member, minlength=len(done.instance_ids)).tolist()
    return GlobalConvergenceScore(
        **in_ones(overall),
        instance_count=len(done.instance_ids),
        timestamp=when,
        instance_scores=[
            InstanceScores(
                instance_id=instance_id,
                convergence_score=scores["convergence"][row],
                emergence_score=scores["emergence"][row],
                resonance_score=scores["resonance"][row],
                unified_score=scores["unified"][row],
                pattern_count=rows[row],
                timestamp=when,
                metadata={
                    "alignment": scores["alignment"][row],
                    "coverage": scores["coverage"][row],
                    "quality": scores["quality"][row],
                    "participation": scores["participation"][row],
                    "weight": int(done.members.weight[row]) / U,
                },
            )
            for row, instance_id in enumerate(done.instance_ids)
        ],
    )


def published_score(result: RoundResult, scores: Iterable[PublicInstanceScores]) -> GlobalConvergenceScore:
    """Return the scores that a round published, with those of the instances that are known by now."""
    when = at(result.timestamp)
    return GlobalConvergenceScore(
        **{name: getattr(result, name) for name in GlobalColumns.model_fields},
        instance_count=result.instance_count,
        timestamp=when,
        instance_scores=[
            InstanceScores(
                **one.model_dump(exclude={"alignment"}), timestamp=when, metadata={"alignment": one.alignment}
            )
            for one in scores
        ],
    )


def published_synchronization(
    event: SynchronizationCompleted | RoundAbandoned, window: timedelta, *, scheduled: bool
) -> SynchronizationResult:
    """Return what a synchronization on the bus came to.

    The next one is due when the bus says or, not ``scheduled`` there, a window later.
    """
    when = at(event.timestamp)
    due = at(event.next_sync_window) if scheduled and event.next_sync_window is not None else when + window
    if isinstance(event, RoundAbandoned):
        return without_result(below_quorum(event.instance_count, event.min_instances), when, due)
    return SynchronizationResult(
        convergence_score=event.convergence_score,
        instances_synced=event.instances_synced,
        patterns_aggregated=event.patterns_aggregated,
        convergence_achieved=event.convergence_achieved,
        next_sync_window=due,
        sync_duration_ms=float(event.sync_duration_ms),
        errors=list(event.errors),
        warnings=list(event.warnings),
        timestamp=when,
    )


def without_result(error: str, when: datetime, due: datetime) -> SynchronizationResult:
    """Return the result of a synchronization that came to none; the next one is ``due``."""
    return SynchronizationResult(
        convergence_score=0.0,
        instances_synced=0,
        patterns_aggregated=0,
        convergence_achieved=False,
        next_sync_window=due,
        sync_duration_ms=0.0,
        errors=[error],
        timestamp=when,
    )


def below_quorum(members: int, quorum: int) -> str:
    """Return the error of a synchronization that was abandoned."""
    return f"below_quorum: {members} of {quorum} instances"
