"""From what is computed to what the API gives: micro-units to numbers, columns to objects."""

from datetime import datetime

import numpy as np

from convergence.local_federation import Member, Round
from convergence.types import (
    AggregatedPattern,
    GlobalConvergenceScore,
    InstanceScores,
    PatternQuality,
    PatternSignature,
    at,
)
from learning.micro import U
from schemas.columns import Rows, signature_ids

#: From these on a pattern is high or medium (medium needs the minimum certainty only).
HIGH_CERTAINTY, HIGH_STRENGTH, MEDIUM_STRENGTH = 0.9, 0.7, 0.5


def quality(
    strength: float, certainty: float, min_certainty: float, *, admitted: bool = True
) -> PatternQuality:
    """Return the quality of a pattern; ``admitted`` is the verdict of the gates."""
    if not admitted:
        return PatternQuality.INVALID
    if certainty >= HIGH_CERTAINTY and strength >= HIGH_STRENGTH:
        return PatternQuality.HIGH
    if certainty >= min_certainty and strength >= MEDIUM_STRENGTH:
        return PatternQuality.MEDIUM
    return PatternQuality.LOW


def pattern_signatures(
    member: Member, instance_id: str, words: tuple[str, ...], min_certainty: float
) -> list[PatternSignature]:
    """Return what an instance holds."""
    rows: Rows = member.rows
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
    """Return the library of a round by pattern id; the aggregate stands as a signature of nobody, too."""
    said = done.aggregates
    ids = said.signature_ids()
    order = np.argsort(said.row_of_cell, kind="stable")
    starts = np.searchsorted(said.row_of_cell[order], np.arange(len(said) + 1))
    holders = done.cells.member[order].tolist()
    found = {}
    for row in np.flatnonzero(said.in_library).tolist():
        strength, resonance = int(said.strength[row]) / U, int(said.resonance[row]) / U
        certainty = int(said.certainty[row]) / U
        word = said.words[int(said.pattern_type[row])]
        frequency = int(said.total_frequency[row])
        signature = PatternSignature(
            signature_id=ids[row],
            pattern_type=word,
            strength=strength,
            resonance=resonance,
            frequency=frequency,
            module_signatures=[],
            event_type_signatures=[],
            epistemic_certainty=certainty,
            quality=quality(strength, certainty, min_certainty),
            instance_id="",
            created_at=when,
        )
        held = sorted(holders[starts[row] : starts[row + 1]])
        found[ids[row]] = AggregatedPattern(
            pattern_id=ids[row],
            pattern_type=word,
            aggregated_signature=signature,
            contributing_instances=[done.instance_ids[member] for member in held],
            instance_count=int(said.instance_count[row]),
            total_frequency=frequency,
            average_strength=strength,
            average_resonance=resonance,
            average_epistemic_certainty=certainty,
            consensus_score=int(said.consensus_score[row]) / U,
            aggregated_at=when,
        )
    return found


def global_score(done: Round, when: datetime) -> GlobalConvergenceScore:
    """Return the scores of a round in this process."""
    overall, columns = done.scores.overall, vars(done.scores.members)
    scores = {name: (column / U).tolist() for name, column in columns.items()}
    rows = np.bincount(done.cells.member, minlength=len(done.instance_ids)).tolist()
    return GlobalConvergenceScore(
        global_convergence=overall.global_convergence / U,
        instance_count=len(done.instance_ids),
        pattern_alignment=overall.pattern_alignment / U,
        global_emergence=overall.global_emergence / U,
        convergence_variance=overall.convergence_variance / U,
        mean_convergence=overall.mean_convergence / U,
        weighted_mean_convergence=overall.weighted_mean_convergence / U,
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
