"""The public result of a round: 4 decimals for the federation, 2 for an instance, from the micro-units."""

from collections.abc import Iterator
from typing import Any

from learning.micro import public
from schemas.convergence import PublicCriterion, PublicInstanceScores
from schemas.rounds import DetectionCompleted, GlobalScores
from workers.handover import count_of_parts, rows_of_part

#: Decimals of what describes the federation.
GLOBAL_DECIMALS = 4

#: Decimals of what describes one instance.
INSTANCE_DECIMALS = 2


def result_parts(
    detected: DetectionCompleted, now_ms: int, *, covered_only: bool
) -> Iterator[dict[str, Any]]:
    """Yield the fields of a RoundResult, part by part; the totals stand in every part.

    ``covered_only``: with the scores of those instances alone that the round answers.
    """
    covered = {cover.instance_id for cover in detected.covers}
    scores = [
        score for score in _instance_scores(detected) if not covered_only or score.instance_id in covered
    ]
    totals = _totals(detected) | {"timestamp": now_ms}
    parts = count_of_parts(len(detected.covers), len(scores))
    for part in range(parts):
        rows = rows_of_part(part)
        yield totals | {
            "part": part,
            "parts": parts,
            "instance_scores": tuple(scores[rows]),
            "covers": detected.covers[rows],
        }


def _totals(detected: DetectionCompleted) -> dict[str, Any]:
    scores = detected.global_scores
    if scores is None or detected.converged is None or detected.library is None:
        raise ValueError(f"{detected.round_id} has no totals")
    return {
        "federation": detected.federation,
        "round_id": detected.round_id,
        "kind": detected.kind,
        "number": detected.number,
        **{name: public(getattr(scores, name), GLOBAL_DECIMALS) for name in GlobalScores.model_fields},
        "convergence_achieved": detected.converged,
        "criteria": tuple(
            PublicCriterion(
                name=verdict.name,
                value=public(verdict.value, GLOBAL_DECIMALS),
                threshold=public(verdict.threshold, GLOBAL_DECIMALS),
                met=verdict.met,
                distance=public(verdict.distance, GLOBAL_DECIMALS),
            )
            for verdict in detected.criteria
        ),
        "instance_count": detected.instances.drop_reason.count(None),
        "patterns_aggregated": detected.library,
        "opened_at": detected.opened_at_ms,
    }


def _instance_scores(detected: DetectionCompleted) -> Iterator[PublicInstanceScores]:
    """Yield the scores of the cohort."""
    instances, scores = detected.instances, detected.scores
    for row, reason in enumerate(instances.drop_reason):
        if reason is None:
            yield PublicInstanceScores(
                instance_id=instances.instance_id[row],
                convergence_score=public(scores.convergence[row], INSTANCE_DECIMALS),
                emergence_score=public(scores.emergence[row], INSTANCE_DECIMALS),
                resonance_score=public(scores.resonance[row], INSTANCE_DECIMALS),
                unified_score=public(scores.unified[row], INSTANCE_DECIMALS),
                alignment=public(scores.alignment[row], INSTANCE_DECIMALS),
                pattern_count=instances.rows[row],
            )
