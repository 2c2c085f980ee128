"""Micro-units: every value is an integer of one millionth, so equal inputs give equal results everywhere."""

from typing import overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

#: One, in micro-units.
U = 1_000_000

Int64 = NDArray[np.int64]

#: Decimals of a micro-unit.
_DECIMALS = 6


@overload
def hu(a: int, b: int) -> int: ...
@overload
def hu(a: Int64, b: Int64 | int) -> Int64: ...
def hu(a: int | Int64, b: int | Int64) -> int | Int64:
    """Return a / b rounded half up, ``(2a + b) // (2b)``, for a >= 0 and b > 0.

    Exact for Python integers of any size. In int64 columns 2a + b and 2b must stay below 2^63: numpy wraps
    silently.
    """
    return (2 * a + b) // (2 * b)


@overload
def to_micro(values: float) -> int: ...
@overload
def to_micro(values: ArrayLike) -> Int64: ...
def to_micro(values: ArrayLike) -> int | Int64:
    """Return floor(x * 1e6 + 0.5) in float64, the one way in which a number enters the system.

    A scalar gives an int, anything else an int64 column; finite values only. Thresholds of the settings are
    converted with it too.
    """
    micro = np.floor(np.asarray(values, dtype=np.float64) * U + 0.5).astype(np.int64)
    return int(micro) if micro.ndim == 0 else micro


@overload
def public(value_micro: int, decimals: int) -> float: ...
@overload
def public(value_micro: Int64, decimals: int) -> NDArray[np.float64]: ...
def public(value_micro: int | Int64, decimals: int) -> float | NDArray[np.float64]:
    """Return a value, or a column, as it is published: half up to ``decimals`` (0 … 6), from the integer.

    The float is the nearest to the decimal, so its shortest text has no more than ``decimals`` decimals. A
    negative distance is rounded like its opposite.
    """
    sign = 1 - 2 * (value_micro < 0)
    published: float | NDArray[np.float64]
    published = sign * hu(sign * value_micro, 10 ** (_DECIMALS - decimals)) / 10**decimals
    return published
