"""What one bucket adds to a round, and how the buckets' sums merge.

Each bucket decides alone which of its signatures are in the library, so everything that the scores need is a
sum over buckets, exact and in any order.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Self

import numpy as np

from learning.aggregation import Aggregates
from learning.cells import Cells, Members
from learning.limbs import BITS, MASK, group_totals, normalise, total
from learning.micro import Int64


@dataclass(frozen=True, eq=False)
class MemberSums:
    """Per member of the cohort; int64 columns in its order, micro-units."""

    #: A = sum of min(s * D, T_s - w * s) over own rows in the library, D = weight of the others; two limbs.
    overlap_hi: Int64
    overlap_lo: Int64
    #: Sum of strengths over own rows.
    own_strength: Int64
    #: Sum of strengths over own rows in the library.
    shared_strength: Int64
    #: Sum of W_p over own rows in the library.
    shared_weight: Int64
    #: Sum of emergence over own rows in the library.
    shared_emergence: Int64
    #: Sum of certainties over own rows.
    certainty: Int64
    #: Sum of resonances over own rows.
    resonance: Int64
    #: Own rows.
    rows: Int64
    #: Own rows in the library.
    shared: Int64


@dataclass(frozen=True)
class LibrarySums:
    """For the federation as a whole."""

    #: Sum of T_s over the library.
    strength: int
    #: Sum of W_p over the library.
    weight: int
    #: Sum of W_p * emergence over the library.
    emergence: int
    #: Signatures in the library.
    library: int
    #: Distinct signatures.
    distinct: int


@dataclass(frozen=True, eq=False)
class Sums:
    """What merges over buckets: of one bucket, or of several that were merged."""

    members: MemberSums
    library: LibrarySums

    @classmethod
    def of(cls, members: Mapping[str, Sequence[int]], library: Mapping[str, int]) -> Self:
        """Return the sums behind ``member_lists`` and ``library_limbs``; raises KeyError for a gap."""
        return cls(
            MemberSums(
                **{field.name: np.array(members[field.name], dtype=np.int64) for field in fields(MemberSums)}
            ),
            LibrarySums(
                **{name: (library[f"{name}_hi"] << BITS) + library[f"{name}_lo"] for name in _LIMBED},
                library=library["library"],
                distinct=library["distinct"],
            ),
        )

    def member_lists(self) -> dict[str, list[int]]:
        """Return the columns of members as lists of integers below 2^63."""
        return {field.name: getattr(self.members, field.name).tolist() for field in fields(MemberSums)}

    def library_limbs(self) -> dict[str, int]:
        """Return the sums of the library in integers below 2^63, those that may pass it as two limbs."""
        limbs = {"library": self.library.library, "distinct": self.library.distinct}
        for name in _LIMBED:
            value: int = getattr(self.library, name)
            limbs[f"{name}_hi"] = value >> BITS
            limbs[f"{name}_lo"] = value & MASK
        return limbs

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sums):
            return NotImplemented
        return self.library == other.library and self.member_lists() == other.member_lists()

    __hash__ = None  # type: ignore[assignment]


#: The sums of the library that can pass 2^63.
_LIMBED = ("strength", "weight", "emergence")


def partial(cells: Cells, members: Members, aggregates: Aggregates) -> Sums:
    """Return what the bucket of ``cells`` adds; ``aggregates`` are those of the same cells and members."""
    count = len(members)
    row = aggregates.row_of_cell
    shared = aggregates.in_library[row]
    strength = cells.rows["strength"].astype(np.int64)
    own = members.weight[cells.member]
    others_hold = aggregates.weighted_strength[row] - own * strength
    overlap = np.minimum(strength * (members.total_weight - own), others_hold)

    def per_member(values: Int64 | int) -> Int64:
        sums = np.zeros(count, dtype=np.int64)
        np.add.at(sums, cells.member, values)
        return sums

    overlap_hi, overlap_lo = group_totals(cells.member, np.where(shared, overlap, 0), count)
    of_library = aggregates.in_library
    return Sums(
        MemberSums(
            overlap_hi=overlap_hi,
            overlap_lo=overlap_lo,
            own_strength=per_member(strength),
            shared_strength=per_member(np.where(shared, strength, 0)),
            shared_weight=per_member(np.where(shared, aggregates.weight[row], 0)),
            shared_emergence=per_member(aggregates.emergence[row]),  # 0 outside the library
            certainty=per_member(cells.rows["certainty"].astype(np.int64)),
            resonance=per_member(cells.rows["resonance"].astype(np.int64)),
            rows=per_member(1),
            shared=per_member(shared.astype(np.int64)),
        ),
        LibrarySums(
            strength=total(aggregates.weighted_strength[of_library]),
            weight=total(aggregates.weight[of_library]),
            emergence=total((aggregates.weight * aggregates.emergence)[of_library]),
            library=int(of_library.sum()),
            distinct=len(aggregates),
        ),
    )


def merge(parts: Sequence[Sums]) -> Sums:
    """Return the sums over at least one and less than 2^31 buckets of the same cohort, in any order.

    Raises ValueError for no part or for parts of different cohorts.
    """
    if len({len(part.members.rows) for part in parts}) != 1:
        raise ValueError("only sums of the same cohort merge, and at least one of them")
    columns: dict[str, Int64] = {
        field.name: np.stack([getattr(part.members, field.name) for part in parts]).sum(axis=0)
        for field in fields(MemberSums)
    }
    columns["overlap_hi"], columns["overlap_lo"] = normalise(columns["overlap_hi"], columns["overlap_lo"])
    return Sums(
        MemberSums(**columns),
        LibrarySums(
            **{
                field.name: sum(getattr(part.library, field.name) for part in parts)
                for field in fields(LibrarySums)
            }
        ),
    )
