"""Sums beyond 2^63: a non-negative value as two int64 limbs, value = hi * 2^32 + lo with 0 <= lo < 2^32."""

import numpy as np

from learning.micro import Int64

#: Bits of the low limb.
BITS = 32

#: The low limb's mask.
MASK = (1 << BITS) - 1


def total(values: Int64) -> int:
    """Return the exact sum of a non-negative int64 column of less than 2^31 values."""
    return (int((values >> BITS).sum()) << BITS) + int((values & MASK).sum())


def normalise(hi: Int64, lo: Int64) -> tuple[Int64, Int64]:
    """Carry what the low limbs hold beyond 32 bits into the high ones: equal values are equal limbs."""
    return hi + (lo >> BITS), lo & MASK


def group_totals(groups: np.ndarray, values: Int64, size: int) -> tuple[Int64, Int64]:
    """Return, per group 0 … size - 1, the exact sum of its non-negative values as normalised limbs."""
    hi = np.zeros(size, dtype=np.int64)
    lo = np.zeros(size, dtype=np.int64)
    np.add.at(hi, groups, values >> BITS)
    np.add.at(lo, groups, values & MASK)
    return normalise(hi, lo)
