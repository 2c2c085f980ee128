"""The scores of a round: of every member of the cohort, and of the federation as a whole.

All scores look at the library only: what one or two organisations alone hold is neither rewarded nor shown.
Otherwise a prober could read from its own alignment whether somebody else holds a pattern it guessed.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from learning.cells import Members
from learning.limbs import BITS
from learning.micro import Int64, U, hu
from learning.partial import LibrarySums, Sums


@dataclass(frozen=True, eq=False)
class MemberScores:
    """Int64 columns in the order of the cohort, micro-units."""

    #: Generalised Jaccard similarity between its strengths and what the others hold.
    alignment: Int64
    #: Share of the library's weight that it holds.
    coverage: Int64
    #: Mean certainty of its rows.
    quality: Int64
    #: Share of the last completed synchronizations that it was in.
    participation: Int64
    #: Mean resonance of its rows.
    resonance: Int64
    #: Mean of coverage, quality and participation.
    convergence: Int64
    #: Mean emergence of its rows in the library.
    emergence: Int64
    #: Mean of convergence and emergence.
    unified: Int64


@dataclass(frozen=True)
class GlobalScores:
    """The scores of the federation, micro-units; all zero for an empty cohort."""

    #: 0.5 weighted mean + 0.3 alignment + 0.2 emergence.
    global_convergence: int
    #: Weighted mean of the members' alignments.
    pattern_alignment: int
    #: Mean emergence of the library, weighted by W_p.
    global_emergence: int
    #: Weighted population variance of the unified scores.
    convergence_variance: int
    #: Unweighted mean of the unified scores; decides nothing.
    mean_convergence: int
    #: Weighted mean of the unified scores.
    weighted_mean_convergence: int


@dataclass(frozen=True, eq=False)
class Scores:
    """The result of a round."""

    members: MemberScores
    overall: GlobalScores


def score(sums: Sums, members: Members, participation: Sequence[tuple[int, int]]) -> Scores:
    """Return the scores of a cohort from the merged sums of all buckets.

    ``participation`` has (synchronizations it was in, out of so many) per member; (0, 0) for none yet.
    Sums and products here need up to 130 bits and there are few values, so this is done in Python integers.
    Raises ValueError if the three do not describe the same cohort.
    """
    weights: list[int] = members.weight.tolist()
    of_members = sums.member_lists()
    if not len(weights) == len(participation) == len(of_members["rows"]):
        raise ValueError("sums, members and participation are of different cohorts")

    alignment = _alignment(of_members, sums.library, weights)
    coverage = [_share(U * held, sums.library.weight) for held in of_members["shared_weight"]]
    quality = list(map(_share, of_members["certainty"], of_members["rows"]))
    attended = [hu(U * attended, counted) if counted else U for attended, counted in participation]
    resonance = list(map(_share, of_members["resonance"], of_members["rows"]))
    convergence = [hu(sum(three), 3) for three in zip(coverage, quality, attended, strict=True)]
    emergence = list(map(_share, of_members["shared_emergence"], of_members["shared"]))
    unified = [hu(sum(two), 2) for two in zip(convergence, emergence, strict=True)]
    return Scores(
        MemberScores(
            *(
                np.array(column, dtype=np.int64)
                for column in (
                    alignment,
                    coverage,
                    quality,
                    attended,
                    resonance,
                    convergence,
                    emergence,
                    unified,
                )
            )
        ),
        global_scores(weights, unified, alignment, _share(sums.library.emergence, sums.library.weight)),
    )


def global_scores(
    weights: Sequence[int], unified: Sequence[int], alignment: Sequence[int], emergence_micro: int
) -> GlobalScores:
    """Return the scores of a federation from those of its members; all zero if there are none.

    variance = (W * sum(w * u^2) - sum(w * u)^2) / (W^2 * U), with W the sum of the weights.
    """
    if not weights:
        return GlobalScores(0, 0, 0, 0, 0, 0)
    weight = sum(weights)
    first = sum(w * u for w, u in zip(weights, unified, strict=True))
    second = sum(w * u * u for w, u in zip(weights, unified, strict=True))
    weighted_mean = hu(first, weight)
    pattern_alignment = hu(sum(w * a for w, a in zip(weights, alignment, strict=True)), weight)
    return GlobalScores(
        global_convergence=hu(5 * weighted_mean + 3 * pattern_alignment + 2 * emergence_micro, 10),
        pattern_alignment=pattern_alignment,
        global_emergence=emergence_micro,
        convergence_variance=hu(weight * second - first * first, weight * weight * U),
        mean_convergence=hu(sum(unified), len(unified)),
        weighted_mean_convergence=weighted_mean,
    )


def _alignment(of_members: dict[str, list[int]], library: LibrarySums, weights: list[int]) -> list[int]:
    """Return sum(min(s, g)) / sum(max(s, g)) of each member, g being what the others hold of the library.

    Both sums are multiplied by D, the weight of the others. 1 for a member that is alone.
    """
    weight = sum(weights)
    alignment = []
    for own_weight, hi, lo, own, shared in zip(
        weights,
        of_members["overlap_hi"],
        of_members["overlap_lo"],
        of_members["own_strength"],
        of_members["shared_strength"],
        strict=True,
    ):
        others = weight - own_weight
        smaller = (hi << BITS) + lo
        larger = others * own + library.strength - own_weight * shared - smaller
        alignment.append(_share(U * smaller, larger) if others else U)
    return alignment


def _share(part: int, whole: int) -> int:
    """Return part / whole half up; 0 if there is no whole."""
    return hu(part, whole) if whole else 0
