"""When learning has converged: four criteria, each strict, on the rounded integers."""

from dataclasses import dataclass
from typing import Literal

from learning.scores import GlobalScores


@dataclass(frozen=True)
class Thresholds:
    """What the scores of a federation are held against, micro-units; the variance must stay below its own."""

    convergence_micro: int = 950_000
    alignment_micro: int = 900_000
    variance_micro: int = 50_000
    emergence_micro: int = 850_000


@dataclass(frozen=True)
class Criterion:
    """One criterion. ``distance_micro`` is how far the value is on the right side; met if it is above 0."""

    name: Literal["convergence", "alignment", "variance", "emergence"]
    value_micro: int
    threshold_micro: int
    met: bool
    distance_micro: int


def judge(scores: GlobalScores, thresholds: Thresholds) -> tuple[Criterion, ...]:
    """Return the four criteria: convergence, alignment and emergence must exceed, variance must be below."""
    return (
        _above("convergence", scores.global_convergence, thresholds.convergence_micro),
        _above("alignment", scores.pattern_alignment, thresholds.alignment_micro),
        _below("variance", scores.convergence_variance, thresholds.variance_micro),
        _above("emergence", scores.global_emergence, thresholds.emergence_micro),
    )


def converged(criteria: tuple[Criterion, ...]) -> bool:
    """Tell whether every criterion is met."""
    return all(criterion.met for criterion in criteria)


def _above(name: Literal["convergence", "alignment", "emergence"], value: int, threshold: int) -> Criterion:
    return Criterion(name, value, threshold, met=value > threshold, distance_micro=value - threshold)


def _below(name: Literal["variance"], value: int, threshold: int) -> Criterion:
    return Criterion(name, value, threshold, met=value < threshold, distance_micro=threshold - value)
