"""What merges over buckets."""

from dataclasses import replace

import numpy as np
import pytest

from learning.aggregation import Method, aggregate
from learning.cells import Cells, Members
from learning.micro import U
from learning.partial import Sums, merge, partial
from schemas.columns import ROW
from tests.learning.federations import compute, equal_federation, over_the_bus

MEMBERS = {
    "overlap_hi": [1],
    "overlap_lo": [2**32 - 1],
    "own_strength": [5],
    "shared_strength": [4],
    "shared_weight": [2**40],
    "shared_emergence": [3],
    "certainty": [9],
    "resonance": [8],
    "rows": [2],
    "shared": [1],
}
LIBRARY = {
    "strength_hi": 2**40,
    "strength_lo": 2**32 - 1,
    "weight_hi": 0,
    "weight_lo": 2**32 - 1,
    "emergence_hi": 3,
    "emergence_lo": 2**31,
    "library": 1,
    "distinct": 2,
}


def test_sums_travel_as_lists_and_come_back_equal() -> None:
    sums = Sums.of(MEMBERS, LIBRARY)

    assert sums.member_lists() == MEMBERS
    assert sums.library_limbs() == LIBRARY
    assert over_the_bus(sums) == sums


def test_a_missing_column_is_refused() -> None:
    with pytest.raises(KeyError, match="shared"):
        Sums.of({name: column for name, column in MEMBERS.items() if name != "shared"}, LIBRARY)


def test_merging_carries_into_the_high_limb() -> None:
    merged = merge([Sums.of(MEMBERS, LIBRARY)] * 3)

    lists = merged.member_lists()
    assert (lists["overlap_hi"][0] << 32) + lists["overlap_lo"][0] == 3 * ((1 << 32) + 2**32 - 1)
    assert lists["overlap_lo"][0] < 2**32
    assert lists["shared_weight"] == [3 * 2**40]
    assert merged.library.strength == 3 * ((2**40 << 32) + 2**32 - 1) > 2**63
    assert merged.library_limbs()["weight_hi"] == 2
    assert (merged.library.library, merged.library.distinct) == (3, 6)


def test_one_bucket_merges_to_itself() -> None:
    sums = Sums.of(MEMBERS, LIBRARY)

    assert merge([sums]) == sums


def test_nothing_cannot_be_merged() -> None:
    with pytest.raises(ValueError, match="at least one"):
        merge([])


def test_sums_of_different_cohorts_cannot_be_merged() -> None:
    two = Sums.of({name: column * 2 for name, column in MEMBERS.items()}, LIBRARY)

    with pytest.raises(ValueError, match="same cohort"):
        merge([Sums.of(MEMBERS, LIBRARY), two])


def test_an_empty_cohort_has_sums_of_nobody() -> None:
    sums = compute(equal_federation({}), 3).sums

    assert all(column == [] for column in sums.member_lists().values())
    assert set(sums.library_limbs().values()) == {0}


def test_the_overlap_and_the_sums_over_the_library_are_exact_beyond_63_bits() -> None:
    # One member's 3,000 rows in a cohort of 10,000 of full weight, and aggregates as if all held them.
    rows, others = 3_000, 9_999
    members = Members(np.arange(others + 1, dtype=np.int32), np.full(others + 1, U, dtype=np.int64))
    own = np.zeros(rows, dtype=ROW)
    own["signature"] = np.array([n.to_bytes(16, "big") for n in range(rows)], dtype="V16")
    own["strength"] = U
    own["certainty"] = U
    own["frequency"] = 1
    cells = Cells(np.full(rows, 7, dtype=np.int32), own, ("drift",))
    weight = (others + 1) * U
    held_by_all = replace(
        aggregate(cells, members, Method()),
        weight=np.full(rows, weight),
        weighted_strength=np.full(rows, weight * U - 1),
        in_library=np.ones(rows, dtype=np.bool_),
        emergence=np.full(rows, 999_999),
    )

    sums = partial(cells, members, held_by_all)

    lists = sums.member_lists()
    overlap = rows * (others * U * U - 1)
    assert overlap > 2**63
    assert (lists["overlap_hi"][7] << 32) + lists["overlap_lo"][7] == overlap
    assert sum(lists["overlap_hi"]) == lists["overlap_hi"][7]
    assert lists["shared_weight"][7] == rows * weight
    assert sums.library.strength == rows * (weight * U - 1) > 2**63
    assert sums.library.weight == rows * weight
    assert sums.library.emergence == rows * weight * 999_999 > 2**63
    assert over_the_bus(sums) == sums
