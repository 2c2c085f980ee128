"""Numbers enter as micro-units, are rounded half up, and leave with few decimals."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from convergence.replay.exact import half_up
from learning.limbs import group_totals, normalise, total
from learning.micro import U, hu, public, to_micro


@settings(deadline=None)
@given(a=st.integers(0, 10**40), b=st.integers(1, 10**40))
def test_quotients_of_any_size_are_rounded_half_up(a: int, b: int) -> None:
    assert hu(a, b) == half_up(Fraction(a, b))


def test_columns_are_rounded_like_integers() -> None:
    a, b = np.array([0, 1, 2, 3, 10**17]), np.array([2, 2, 4, 2, 3])

    assert (
        hu(a, b).tolist()
        == [hu(int(x), int(y)) for x, y in zip(a, b, strict=True)]
        == [0, 1, 1, 2, 33333333333333333]
    )
    assert hu(a, 2).tolist() == [0, 1, 1, 2, 5 * 10**16]


@pytest.mark.parametrize(
    ("value", "micro"),
    [(0.0, 0), (1.0, U), (0.85, 850_000), (0.7, 700_000), (4.9e-7, 0), (5e-7, 1), (0.1 + 0.2, 300_000)],
)
def test_a_float_becomes_the_nearest_micro_unit(value: float, micro: int) -> None:
    assert to_micro(value) == micro
    assert type(to_micro(value)) is int


def test_a_column_of_floats_becomes_a_column_of_micro_units() -> None:
    micro = to_micro(np.array([0.0, 0.5, 0.9999999]))

    assert micro.tolist() == [0, 500_000, U]
    assert micro.dtype == np.int64


@pytest.mark.parametrize(
    ("value", "decimals", "text"),
    [
        (949_950, 4, "0.95"),  # half up, from the integer
        (949_949, 4, "0.9499"),
        (945_000, 2, "0.95"),
        (944_999, 2, "0.94"),
        (U, 2, "1.0"),
        (123_456, 6, "0.123456"),
        (290_000, 2, "0.29"),
        (-945_000, 2, "-0.95"),
        (-4_999, 2, "0.0"),
        (0, 2, "0.0"),
    ],
)
def test_a_published_value_has_no_more_decimals_than_promised(value: int, decimals: int, text: str) -> None:
    assert str(public(value, decimals)) == text


def test_a_column_is_published_like_its_values() -> None:
    micro = [949_949, 945_000, 0, -945_000]

    assert public(np.array(micro), 2).tolist() == [public(value, 2) for value in micro]


def test_a_total_beyond_63_bits_is_exact() -> None:
    values = np.full(1000, 2**62 + 12345, dtype=np.int64)

    assert total(values) == 1000 * (2**62 + 12345) > 2**63
    assert total(np.array([], dtype=np.int64)) == 0


def test_totals_of_groups_beyond_63_bits_are_exact_and_normal() -> None:
    groups = np.array([2, 0, 2, 2], dtype=np.int32)
    values = np.array([2**62 + 1, 7, 2**62 + 2**32 - 1, 2**62], dtype=np.int64)

    hi, lo = group_totals(groups, values, 4)

    sums = [(int(h) << 32) + int(low) for h, low in zip(hi, lo, strict=True)]
    assert sums == [7, 0, 3 * 2**62 + 2**32, 0]
    assert all(0 <= low < 2**32 for low in lo.tolist())


def test_equal_values_have_equal_limbs_after_a_carry() -> None:
    hi, lo = normalise(np.array([1, 2]), np.array([2**32 + 5, 5]))

    assert hi.tolist() == [2, 2]
    assert lo.tolist() == [5, 5]
