"""The same formulas written down straight away: a dictionary for each pattern, a loop over everything.

The comparison of a reader who asks why the mathematics is done in columns. In floats, and without release.
"""

from collections import defaultdict
from dataclasses import dataclass
from math import sqrt
from typing import NamedTuple

from learning.cells import Cells, Members


@dataclass(slots=True)
class Pattern:
    """What one instance holds of one signature."""

    strength: float
    resonance: float
    certainty: float
    frequency: int


#: Instance -> signature -> pattern.
Held = dict[int, dict[bytes, Pattern]]


def held(cells: Cells) -> Held:
    """Return the cells as the dictionaries that such a program keeps."""
    by_instance: Held = defaultdict(dict)
    for member, (signature, strength, resonance, certainty, frequency, _) in zip(
        cells.member.tolist(), cells.rows.tolist(), strict=True
    ):
        by_instance[member][signature] = Pattern(strength / 1e6, resonance / 1e6, certainty / 1e6, frequency)
    return by_instance


class Scores(NamedTuple):
    """What an instance is told; it has been in every synchronization so far."""

    alignment: float
    convergence: float
    emergence: float


def scores(by_instance: Held, members: Members) -> dict[int, Scores]:
    """Return the scores of every instance."""
    weight = dict(enumerate((members.weight / 1e6).tolist()))
    organisation = dict(enumerate(members.organisation.tolist()))
    contributors: dict[bytes, list[tuple[int, Pattern]]] = defaultdict(list)
    for instance, patterns in by_instance.items():
        for signature, pattern in patterns.items():
            contributors[signature].append((instance, pattern))
    least, full = min(3, members.organisations), min(5, members.organisations)
    total, weighted_strength, emergence = {}, {}, {}
    for signature, of_pattern in contributors.items():
        owners = {organisation[instance] for instance, _ in of_pattern}
        if len(owners) < least or len(of_pattern) < 2:  # noqa: PLR2004
            continue
        weights = [weight[instance] for instance, _ in of_pattern]
        whole = sum(weights)
        strength, cv_strength = _moments([one.strength for _, one in of_pattern], weights)
        resonance, cv_resonance = _moments([one.resonance for _, one in of_pattern], weights)
        certainty, _ = _moments([one.certainty for _, one in of_pattern], weights)
        agreement = max(0.0, 1 - (cv_strength + cv_resonance) / 2)
        reach = min(len(owners), full) / full
        total[signature] = whole
        weighted_strength[signature] = strength * whole
        emergence[signature] = (reach + (strength + resonance) / 2 + agreement + certainty) / 4
    everything, library_strength = sum(total.values()), sum(weighted_strength.values())
    all_weight = sum(weight.values())
    result = {}
    for instance, patterns in by_instance.items():
        shared = [signature for signature in patterns if signature in total]
        others = all_weight - weight[instance]
        smaller = own = own_shared = 0.0
        for signature, pattern in patterns.items():
            own += pattern.strength
            if signature in total:
                own_shared += pattern.strength
                rest = (weighted_strength[signature] - weight[instance] * pattern.strength) / others
                smaller += min(pattern.strength, rest)
        larger = own + (library_strength - weight[instance] * own_shared) / others - smaller
        alignment = smaller / larger
        coverage = sum(total[signature] for signature in shared) / everything
        quality = sum(pattern.certainty for pattern in patterns.values()) / len(patterns)
        emerged = sum(emergence[signature] for signature in shared) / max(1, len(shared))
        result[instance] = Scores(alignment, (coverage + quality + 1) / 3, emerged)
    return result


def _moments(values: list[float], weights: list[float]) -> tuple[float, float]:
    whole = sum(weights)
    mean = sum(w * x for w, x in zip(weights, values, strict=True)) / whole
    variance = sum(w * (x - mean) ** 2 for w, x in zip(weights, values, strict=True)) / whole
    return mean, sqrt(variance) / max(mean, 0.5)
