"""What an instance weighs, and that no organisation outweighs the others."""

from fractions import Fraction
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from convergence.replay import weights as reference
from learning.micro import U
from learning.weights import cap, data_quality, reliability, weight

counts = st.integers(0, 100_000)


def capped(weights: list[int], organisations: list[int]) -> list[int]:
    result: list[int] = cap(
        np.array(weights, dtype=np.int64), np.array(organisations, dtype=np.int32)
    ).tolist()
    return result


@pytest.mark.parametrize(
    ("received", "expected", "micro"),
    [(0, 0, U), (3, 0, U), (0, 20, 0), (19, 20, 950_000), (2, 3, 666_667), (21, 20, U)],
)
def test_reliability_is_what_came_of_what_was_due(received: int, expected: int, micro: int) -> None:
    assert reliability(received, expected) == micro == reference.reliability(received, expected)


def test_filtered_rows_are_no_defect_and_malformed_ones_are() -> None:
    assert data_quality(accepted=40, received=100, low_certainty=50, low_quality=10) == U
    assert data_quality(accepted=40, received=100, low_certainty=0, low_quality=50) == 800_000
    assert data_quality(accepted=0, received=7, low_certainty=7, low_quality=0) == U
    assert data_quality(accepted=0, received=0, low_certainty=0, low_quality=0) == U
    assert data_quality(accepted=0, received=5, low_certainty=0, low_quality=0) == 0


@settings(deadline=None)
@given(reliable=st.integers(0, U), quality=st.integers(0, U), rows=counts, min_weight=st.integers(1, U))
def test_the_weight_is_that_of_the_reference(reliable: int, quality: int, rows: int, min_weight: int) -> None:
    assert weight(reliable, quality, rows, min_weight) == reference.weight(
        reliable, quality, rows, min_weight
    )


def test_rows_move_the_weight_at_most_twofold() -> None:
    assert weight(U, U, 0, 1) == 500_000
    assert weight(U, U, 500, 1) == 750_000
    assert weight(U, U, 1_000, 1) == weight(U, U, 5_000, 1) == U


def test_nobody_weighs_less_than_the_minimum() -> None:
    assert weight(0, U, 1_000, 100_000) == 100_000


def test_two_organisations_are_not_capped() -> None:
    assert capped([U, U, U, 1], [0, 0, 0, 1]) == [U, U, U, 1]


def test_of_three_organisations_none_has_more_than_half() -> None:
    assert capped([900_000, 100_000, 100_000], [0, 1, 2]) == [200_000, 100_000, 100_000]


def test_of_four_organisations_none_has_more_than_half() -> None:
    assert capped([900_000, 100_000, 100_000, 100_000], [0, 1, 2, 3]) == [300_000, 100_000, 100_000, 100_000]


def test_of_ten_organisations_none_has_more_than_a_fifth() -> None:
    assert capped([U] + [80_000] * 9, range(10)) == [180_000] + [80_000] * 9  # type: ignore[arg-type]


def test_the_members_of_a_capped_organisation_share_what_is_left_in_proportion() -> None:
    assert capped([600_000, 300_000, 100_000, 100_000], [0, 0, 1, 2]) == [133_333, 66_666, 100_000, 100_000]


def test_organisations_of_equal_weight_are_capped_alike() -> None:
    weights = [U, U, U, 10, 10, 10, 10, 10, 10]

    result = capped(weights, list(range(9)))

    assert len(set(result[:3])) == 1
    assert result[0] < U


def test_the_cap_leaves_every_member_at_least_one() -> None:
    assert capped([1] * 50 + [1, 1], [0] * 50 + [1, 2]) == [1] * 52


@settings(deadline=None, max_examples=200)
@given(
    members=st.lists(
        st.tuples(st.integers(1, U), st.sampled_from((0, 0, 0, 1, 2, 3, 4, 5, 6, 7))), min_size=3, max_size=40
    ),
    seed=st.integers(0, 2**32),
)
def test_no_organisation_has_more_than_its_share(members: list[tuple[int, int]], seed: int) -> None:
    Random(seed).shuffle(members)  # noqa: S311
    weights, organisations = [own for own, _ in members], [code for _, code in members]
    count = len(set(organisations))

    result = capped(weights, organisations)

    assert result == list(
        reference.cap(
            {str(i): own for i, own in enumerate(weights)},
            {str(i): str(code) for i, code in enumerate(organisations)},
        ).values()
    )
    if count >= 3:
        share = min(Fraction(1, 2), Fraction(2, count))
        for organisation in set(organisations):
            own = sum(w for w, code in zip(result, organisations, strict=True) if code == organisation)
            # Down to the integers: floors take less than one off each member, and everybody keeps one.
            assert own <= share * (sum(result) + len(result)) + organisations.count(organisation)
