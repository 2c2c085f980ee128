"""Which aggregates may leave the system, and what of them: enough organisations, none dominant, coarsely."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from learning.aggregation import Aggregates
from learning.micro import Int64, public

#: A release threshold is at least this: the aggregate of one organisation is its own data.
MIN_RELEASE_THRESHOLD = 2

#: Released values have so many decimals.
RELEASE_DECIMALS = 2


class Release(NamedTuple):
    """What the federation makes known of a pattern; equal releases need not be published again."""

    pattern_id: str
    pattern_type: str
    organisation_count: int
    instance_count: int
    total_frequency: int
    average_strength: float
    average_resonance: float
    average_epistemic_certainty: float
    consensus_score: float


def releasable(aggregates: Aggregates, k: int) -> NDArray[np.bool_]:
    """Tell whether at least ``k`` organisations contribute and none has more than half of the weight.

    Against c colluding organisations it protects as k - c would. Raises ValueError for k below 2.
    """
    if k < MIN_RELEASE_THRESHOLD:
        raise ValueError(f"the release threshold is at least {MIN_RELEASE_THRESHOLD} organisations, not {k}")
    return (aggregates.organisation_count >= k) & (
        2 * aggregates.largest_organisation_weight <= aggregates.weight
    )


def releases(aggregates: Aggregates, k: int) -> list[Release]:
    """Return what is released of a bucket, sorted by id: 2 decimals, counts rounded down on coarse ladders.

    ``total_frequency`` is rounded down to a power of two, counts to the largest of k, 10, 20, 50, 100, 200, …
    not above them: a count that moves by one would tell of one contributor. Raises ValueError for k below 2.
    """
    mask = releasable(aggregates, k)
    ids = aggregates.signature_ids()
    return [
        Release(
            ids[row],
            aggregates.words[word],
            organisations,
            instances,
            1 << (frequency.bit_length() - 1),
            *values,
        )
        for row, word, organisations, instances, frequency, *values in zip(
            np.flatnonzero(mask).tolist(),
            aggregates.pattern_type[mask].tolist(),
            _on_ladder(aggregates.organisation_count[mask], k).tolist(),
            _on_ladder(aggregates.instance_count[mask], k).tolist(),
            aggregates.total_frequency[mask].tolist(),
            public(aggregates.strength[mask], RELEASE_DECIMALS).tolist(),
            public(aggregates.resonance[mask], RELEASE_DECIMALS).tolist(),
            public(aggregates.certainty[mask], RELEASE_DECIMALS).tolist(),
            public(aggregates.consensus_score[mask], RELEASE_DECIMALS).tolist(),
            strict=True,
        )
    ]


def _on_ladder(counts: Int64, k: int) -> Int64:
    """Return the largest of k, 10, 20, 50, 100, 200, … not above each count; every count is at least k."""
    steps = [step * 10**power for power in range(1, 19) for step in (1, 2, 5) if step * 10**power < 1 << 63]
    ladder = np.unique(np.array([k, *steps], dtype=np.int64))
    return ladder[np.searchsorted(ladder, counts, side="right") - 1]
