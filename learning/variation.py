"""How far the contributors of a signature differ: the weighted coefficient of variation, exactly rounded."""

from math import isqrt

import numpy as np

from learning.contributors import Contributors
from learning.micro import Int64, U, hu

#: Squares are summed in two limbs of so many bits: w * x^2 reaches 1e18, so ten of them overflow.
_BITS = 30
_MASK = (1 << _BITS) - 1

#: Float64 errs by less than 1e-6 micro-units here; what comes nearer than this to a rounding boundary is
#: computed again in integers.
_DOUBT = 1e-3


def variation(values: Int64, weighted_sum: Int64, contributors: Contributors) -> Int64:
    """Return U * standard deviation / max(mean, 1/2) per signature, half up, in micro-units.

    ``weighted_sum`` is T = sum(w * x). With W = sum(w) and Q = sum(w * x^2), the exact value is
    (isqrt(4 * U^2 * 4 * (Q * W - T^2) // max(2 * T, U * W)^2) + 1) // 2.

    Squares are taken around the rounded mean m: with R = T - m * W and V = sum(w * (x - m)^2), Q * W - T^2 is
    V * W - R^2. So nothing large cancels in float64, and its result is right but next to a boundary.
    """
    weight = contributors.weight
    middle = hu(weighted_sum, weight)
    rest = weighted_sum - middle * weight
    squares = contributors.weights * np.square(values - middle[contributors.segment])
    high, low = contributors.sum(squares >> _BITS), contributors.sum(squares & _MASK)

    variance = (high * float(1 << _BITS) + low) / weight - np.square(rest / weight)
    estimate = U * np.sqrt(np.maximum(variance, 0)) / np.maximum(weighted_sum / weight, U / 2)
    result = np.floor(estimate + 0.5).astype(np.int64)
    in_doubt = np.abs(estimate - np.floor(estimate) - 0.5) < _DOUBT
    for row in np.flatnonzero(in_doubt).tolist():
        w, t, r = int(weight[row]), int(weighted_sum[row]), int(rest[row])
        spread = ((int(high[row]) << _BITS) + int(low[row])) * w - r * r
        result[row] = (isqrt(16 * U * U * spread // max(2 * t, U * w) ** 2) + 1) // 2
    return result
