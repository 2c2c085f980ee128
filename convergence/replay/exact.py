"""Rounding and weighted moments from their definitions, as fractions; values are micro-units (millionths)."""

from collections.abc import Sequence
from fractions import Fraction
from math import floor, isqrt

#: One, in micro-units.
ONE = 1_000_000


def half_up(value: Fraction) -> int:
    """Return the nearest integer, a half up."""
    return floor(value + Fraction(1, 2))


def share(part: int, whole: int) -> int:
    """Part of the whole in micro-units; nothing of nothing is 0."""
    return half_up(Fraction(ONE * part, whole)) if whole else 0


def mean(values: Sequence[int]) -> int:
    """Return the mean, half up; of nothing it is 0."""
    return half_up(Fraction(sum(values), len(values))) if values else 0


def weighted_mean(pairs: Sequence[tuple[int, int]]) -> Fraction:
    """Return the mean of at least one (weight, value)."""
    return Fraction(sum(weight * value for weight, value in pairs), sum(weight for weight, _ in pairs))


def weighted_variance(pairs: Sequence[tuple[int, int]]) -> Fraction:
    """Return the population variance of at least one (weight, value)."""
    middle = weighted_mean(pairs)
    weight = sum(weight for weight, _ in pairs)
    return sum((w * (value - middle) ** 2 for w, value in pairs), Fraction(0)) / weight


def half_up_root(square: Fraction) -> int:
    """Return the root of ``square``, half up: the last n with n - 1/2 not above it."""
    n = isqrt(floor(square)) + 1
    while n > 0 and (Fraction(2 * n - 1, 2)) ** 2 > square:
        n -= 1
    return n
