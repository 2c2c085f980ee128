"""The input of a round in one bucket: who takes part with which weight, and who holds which signature."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from learning.micro import U
from schemas.columns import ROW

#: The weights of a cohort add up to less than this: a million instances of full weight. It keeps every sum of
#: weight times value, and the doubled one that ``hu`` makes of it, below 2^63.
MAX_TOTAL_WEIGHT = 1 << 40


@dataclass(frozen=True, eq=False)
class Members:
    """The cohort of a round: N instances, in the order that every other column of members follows.

    ``organisation`` (int32[N]) holds dense codes, 0 … number of organisations - 1; ``weight`` (int64[N])
    micro-units after the cap, 1 … 1,000,000. Raises ValueError for anything else: a weight of zero would
    divide by zero much later.
    """

    organisation: NDArray[np.int32]
    weight: NDArray[np.int64]

    def __post_init__(self) -> None:
        if self.organisation.shape != self.weight.shape or self.weight.ndim != 1:
            raise ValueError("organisation and weight are columns of the same length")
        if len(self.weight) == 0:
            return
        if int(self.weight.min()) < 1 or int(self.weight.max()) > U:
            raise ValueError("the weight of a member is 1 … 1,000,000 micro-units")
        if self.total_weight >= MAX_TOTAL_WEIGHT:
            raise ValueError("a cohort is too large for exact sums in 64 bits")
        if int(self.organisation.min()) != 0 or len(np.unique(self.organisation)) != self.organisations:
            raise ValueError("organisation codes are dense, from 0")

    def __len__(self) -> int:
        return len(self.weight)

    @property
    def organisations(self) -> int:
        """Number of organisations in the cohort."""
        return int(self.organisation.max()) + 1 if len(self.organisation) else 0

    @property
    def total_weight(self) -> int:
        """Weight of the whole cohort, micro-units; members without rows in this bucket count too."""
        return int(self.weight.sum())


@dataclass(frozen=True, eq=False)
class Cells:
    """Who holds which signature in one bucket, in any order; a member holds a signature at most once.

    ``member`` (int32[n]) indexes the cohort, ``rows`` is a ``ROW`` column of n, ``words`` the pattern types
    that the codes point at. Strength, resonance and certainty are 0 … 1,000,000, the frequency is at least 1.
    Raises ValueError if the columns do not fit each other.
    """

    member: NDArray[np.int32]
    rows: np.ndarray
    words: tuple[str, ...]

    def __post_init__(self) -> None:
        if self.rows.dtype != ROW:
            raise ValueError("rows are of the dtype ROW")
        if self.member.shape != self.rows.shape or self.member.ndim != 1:
            raise ValueError("member and rows are columns of the same length")

    def __len__(self) -> int:
        return len(self.member)
