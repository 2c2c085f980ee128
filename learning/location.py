"""The middle of what the contributors of a signature say: weighted median and trimmed mean, in integers.

The contributors lie side by side in the order of their values, each as wide as it weighs.
"""

import numpy as np

from learning.contributors import Contributors
from learning.micro import Int64, U, hu

#: A value of 0 … 1,000,000 micro-units fits into so many bits.
_VALUE_BITS = 20


def weighted_median(values: Int64, contributors: Contributors) -> Int64:
    """Return per signature the smallest value v with sum(w of values <= v) >= W / 2, the lower median."""
    order = _by_value(values, contributors)
    weights = contributors.weights[order]
    upto = np.cumsum(weights)
    before = upto[contributors.start] - weights[contributors.start]
    return values[order][np.searchsorted(upto, before + (contributors.weight + 1) // 2)]


def trimmed_mean(values: Int64, contributors: Contributors, trim_micro: int) -> Int64:
    """Return per signature the weighted mean without ``trim_micro * W // U`` of the weight W at either end.

    A row on the boundary counts with the part of its weight that is inside.
    """
    order = _by_value(values, contributors)
    weights, segment, start = contributors.weights[order], contributors.segment, contributors.start
    upto = np.cumsum(weights)
    upto -= (upto[start] - weights[start])[segment]
    trim = trim_micro * contributors.weight // U
    right = np.minimum(upto, (contributors.weight - trim)[segment])
    left = np.maximum(upto - weights, trim[segment])
    kept = np.maximum(0, right - left)
    return hu(contributors.sum(kept * values[order]), contributors.weight - 2 * trim)


def _by_value(values: Int64, contributors: Contributors) -> Int64:
    """Return the order that sorts each signature's cells by value and leaves the signatures in place."""
    return np.argsort(contributors.segment << _VALUE_BITS | values)
