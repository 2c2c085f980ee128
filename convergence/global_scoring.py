"""The scores of a federation from those of its instances, and whether it has converged."""

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from convergence.federated_learning import organisation
from convergence.results import in_ones
from convergence.types import AggregatedPattern, GlobalConvergenceScore, InstanceMetadata, InstanceScores
from learning import criteria, weights
from learning.aggregation import LIBRARY_INSTANCES, emergence_of, reach_of
from learning.criteria import Criterion
from learning.micro import hu, to_micro
from learning.scores import GlobalScores, global_scores


class GlobalScoringAggregator:
    """Weighs the scores of instances into those of the federation.

    No instance weighs less than ``min_instance_weight`` (but the cap on its organisation beats that).
    Converged is only what has a variance below min(``max_variance_threshold``, 0.05).
    """

    def __init__(self, min_instance_weight: float = 0.1, max_variance_threshold: float = 0.1) -> None:
        if not 0 < min_instance_weight <= 1:
            raise ValueError("min_instance_weight must be above 0 and at most 1")
        if not max_variance_threshold > 0:
            raise ValueError("max_variance_threshold must be positive")
        self.min_instance_weight = min_instance_weight
        self.max_variance_threshold = max_variance_threshold
        self._aggregations = 0
        self._instances = 0
        self._patterns = 0

    async def calculate_global_convergence(
        self,
        instance_scores: Mapping[str, InstanceScores],
        instance_metadata: Mapping[str, InstanceMetadata],
        global_patterns: Iterable[AggregatedPattern] | Mapping[str, AggregatedPattern] | None = None,
    ) -> GlobalConvergenceScore:
        """Return the scores of the federation; all zero without an instance that has both.

        Alignment is the weighted mean of what ``InstanceScores.metadata["alignment"]`` says (0 where it says
        nothing). Emergence is that of ``global_patterns`` that at least two instances hold, each weighing as
        many as hold it, with reach counted in instances; without patterns it is the weighted mean of the
        instances' emergence. (A round knows weights and organisations behind each pattern and is exact.)

        Raises ValueError, with instance and field, for a score that is not in [0, 1].
        """
        known = sorted(instance_scores.keys() & instance_metadata.keys())
        scores = [instance_scores[name] for name in known]
        weight = self._weights([instance_metadata[name] for name in known])
        given = global_patterns.values() if isinstance(global_patterns, Mapping) else global_patterns
        patterns = list(given or ())
        unified = [_share(one, "unified_score") for one in scores]
        alignment = [_share(one, "alignment", one.metadata.get("alignment", 0.0)) for one in scores]
        if patterns:
            emergence = _emergence(patterns, len(known))
        else:
            own = (_share(one, "emergence_score") for one in scores)
            total = sum(w * each for w, each in zip(weight, own, strict=True))
            emergence = hu(total, sum(weight)) if known else 0
        overall = global_scores(weight, unified, alignment, emergence)
        self.count(len(known), len(patterns))
        return GlobalConvergenceScore(**in_ones(overall), instance_count=len(known), instance_scores=scores)

    def _weights(self, instances: list[InstanceMetadata]) -> list[int]:
        floor = max(1, to_micro(self.min_instance_weight))
        each = [
            weights.weight(
                _share(one, "reliability_score"), _share(one, "data_quality_score"), one.pattern_count, floor
            )
            for one in instances
        ]
        _, owners = np.unique([organisation(one) for one in instances], return_inverse=True)
        capped: list[int] = weights.cap(np.array(each, dtype=np.int64), owners).tolist()
        return capped

    def validate_convergence(self, global_score: GlobalConvergenceScore) -> bool:
        """Return whether all four criteria are met, strictly; an empty federation has not converged."""
        return global_score.instance_count > 0 and criteria.converged(self.judge(global_score))

    def judge(self, global_score: GlobalConvergenceScore) -> tuple[Criterion, ...]:
        """Return the four criteria, each with its distance to the threshold in micro-units."""
        thresholds = criteria.Thresholds(
            variance_micro=min(to_micro(self.max_variance_threshold), criteria.Thresholds.variance_micro)
        )
        scores = {
            each.name: to_micro(getattr(global_score, each.name)) for each in dataclasses.fields(GlobalScores)
        }
        return criteria.judge(GlobalScores(**scores), thresholds)

    def count(self, instances: int, patterns: int) -> None:
        """Take note of a score of so many instances and patterns, for the statistics."""
        self._aggregations += 1
        self._instances += instances
        self._patterns += patterns

    def get_stats(self) -> dict[str, Any]:
        """Return how many scores were made so far, of how many instances and patterns altogether."""
        return {
            "total_aggregations": self._aggregations,
            "instances_aggregated": self._instances,
            "patterns_aligned": self._patterns,
        }


def _share(of: InstanceScores | InstanceMetadata, name: str, value: float | None = None) -> int:
    """Return a score in micro-units; raises ValueError, with instance and field, for none in [0, 1]."""
    score = getattr(of, name) if value is None else value
    if not 0 <= score <= 1:
        raise ValueError(f"{of.instance_id}: {name}: not in [0, 1]")
    return to_micro(score)


def _emergence(patterns: list[AggregatedPattern], instances: int) -> int:
    """Return the emergence over patterns, weighted by how many instances hold each."""
    held = np.array([one.instance_count for one in patterns], dtype=np.int64)
    emergence = emergence_of(
        reach_of(held, instances),
        to_micro([one.average_strength for one in patterns]),
        to_micro([one.average_resonance for one in patterns]),
        to_micro([one.consensus_score for one in patterns]),
        to_micro([one.average_epistemic_certainty for one in patterns]),
    )
    shared = held >= LIBRARY_INSTANCES
    support = int(held[shared].sum())
    return hu(int((held * emergence)[shared].sum()), support) if support else 0
