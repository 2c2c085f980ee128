"""What the contributors of a signature say together."""

from fractions import Fraction
from random import Random
from typing import Any

import numpy as np
import pytest

from convergence.replay import exact, reference
from convergence.replay.reference import Configuration
from learning.aggregation import Method, aggregate
from learning.cells import MAX_TOTAL_WEIGHT, Cells, Members
from learning.micro import U
from schemas.columns import ROW
from tests.learning.federations import Federation, by_signature, compute, equal_federation

A, B = "a" * 32, "b" * 32


def said_of_one(contributors: list[tuple[int, int]], method: str = "mean", trim: int = 0) -> dict[str, Any]:
    """Return the aggregate of one signature from (weight, value) of contributors, an organisation each."""
    reports = {f"i{n}": {A: ("drift", value, value, value, 1)} for n, (_, value) in enumerate(contributors)}
    federation = Federation(
        reports=reports,
        organisations={name: name for name in reports},
        weights={f"i{n}": own for n, (own, _) in enumerate(contributors)},
        participation={},
        configuration=Configuration(method=method, trim=trim),
    )
    return by_signature(compute(federation).aggregates[0])[A]


def test_an_impossible_method_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown aggregation method"):
        Method("mode")  # type: ignore[arg-type]


@pytest.mark.parametrize("trim", [-1, 500_000, U])
def test_an_impossible_trim_is_refused(trim: int) -> None:
    with pytest.raises(ValueError, match="below one half"):
        Method("trimmed", trim)


def test_the_mean_is_weighted_and_rounded_half_up() -> None:
    assert said_of_one([(1, 0), (1, 1)])["strength"] == 1
    assert said_of_one([(2, 0), (1, 1)])["strength"] == 0
    assert said_of_one([(3, 900_000), (1, 500_000)])["strength"] == 800_000


def test_the_median_of_a_tie_is_the_lower_value() -> None:
    assert said_of_one([(1, 10), (1, 20)], "median")["strength"] == 10
    assert said_of_one([(2, 20), (1, 10), (1, 30)], "median")["strength"] == 20
    assert said_of_one([(3, 10), (2, 20), (1, 30)], "median")["strength"] == 10  # half of all, exactly
    assert said_of_one([(3, 10), (2, 20), (2, 30)], "median")["strength"] == 20  # just below half


def test_the_median_goes_with_the_weight_and_not_with_the_number() -> None:
    assert said_of_one([(10, 900_000), (1, 1), (1, 2), (1, 3)], "median")["strength"] == 900_000


def test_trimming_takes_the_same_weight_off_both_ends() -> None:
    outliers = [(1, 0), (8, 500_000), (1, 1_000_000)]

    assert said_of_one(outliers, "trimmed", 100_000)["strength"] == 500_000


def test_trimming_splits_the_row_on_the_boundary() -> None:
    # t = 0.2 * 20 = 4 of 20: of the first 5 one is left, of the last 5 one.
    assert said_of_one([(5, 0), (10, 600_000), (5, 960_000)], "trimmed", 200_000)["strength"] == 580_000


def test_trimming_less_than_one_takes_nothing() -> None:
    assert said_of_one([(1, 0), (1, 1_000_000)], "trimmed", 499_999)["strength"] == 500_000


def test_trimming_almost_everything_leaves_the_middle() -> None:
    assert said_of_one([(U, 1), (U, 7), (U, 1_000_000)], "trimmed", 499_999)["strength"] == 7


@pytest.mark.parametrize("method", ["median", "trimmed"])
def test_the_consensus_score_always_uses_the_moments(method: str) -> None:
    contributors = [(1, 200_000), (2, 500_000), (5, 900_000)]

    robust, mean = said_of_one(contributors, method, 300_000), said_of_one(contributors)

    assert robust["strength"] != mean["strength"]
    assert robust["consensus_score"] == mean["consensus_score"]


def test_a_single_contributor_agrees_with_itself() -> None:
    assert said_of_one([(5, 1)])["consensus_score"] == U


def test_contributors_who_say_the_same_agree_wholly() -> None:
    assert said_of_one([(7, 123_456), (U, 123_456), (1, 123_456)])["consensus_score"] == U


def test_contributors_who_say_the_opposite_do_not_agree_at_all() -> None:
    assert said_of_one([(5, 0), (5, 1_000_000)])["consensus_score"] == 0


def test_a_variation_next_to_a_rounding_boundary_is_exact() -> None:
    # Two contributors of equal weight around m: the variation is d / m. At m = 0.8 it is 1.25 * d, a tie for
    # every d = 2 mod 4; around it are near ones.
    random = Random(3)  # noqa: S311
    pairs = [(800_000 + random.randint(-2, 2), random.randint(1, 100_000)) for _ in range(3_000)]
    reports = {
        "low": {f"{n:032x}": ("drift", m - d, m, 900_000, 1) for n, (m, d) in enumerate(pairs)},
        "high": {f"{n:032x}": ("drift", m + d, m, 900_000, 1) for n, (m, d) in enumerate(pairs)},
    }

    said = by_signature(compute(equal_federation(reports)).aggregates[0])

    variations = [Fraction(U * d, m) for m, d in pairs]
    assert sum(variation % 1 == Fraction(1, 2) for variation in variations) > 50
    assert sum(0 < abs(variation % 1 - Fraction(1, 2)) < Fraction(1, 1000) for variation in variations) > 0
    for n, variation in enumerate(variations):
        half = Fraction(exact.half_up(variation), 2)
        assert said[f"{n:032x}"]["consensus_score"] == exact.half_up(U - half)


@pytest.mark.parametrize(
    "contributors",
    [
        [(1, 273_448), (4, 556_662)],
        [(1, 500_080), (16, 500_745)],
        [(1, 376_475), (25, 505_901)],
        [(1, 50_673), (441, 503_047)],
        [(1, 108_438), (961, 504_042)],
    ],
)
def test_a_variation_that_float64_puts_on_the_wrong_side_of_a_tie_is_exact(
    contributors: list[tuple[int, int]],
) -> None:
    mean, spread = exact.weighted_mean(contributors), exact.weighted_variance(contributors)
    assert (4 * U * U * spread / mean**2) ** Fraction(1, 2) % 2 == 1  # a tie

    said = said_of_one(contributors)

    assert said["consensus_score"] == U - reference.coefficient_of_variation(contributors)


def test_squares_beyond_63_bits_are_exact() -> None:
    # Full weights at either end: sum w * x^2, W * Q, T^2 and the centred squares all overflow.
    contributors = [(U, 0)] * 60 + [(U, U)] * 60 + [(U - 1, U)]
    weight = sum(own for own, _ in contributors)
    squares = sum(own * value * value for own, value in contributors)
    centred = sum(own * (value - U // 2) ** 2 for own, value in contributors)
    assert min(squares, weight * squares, centred) > 2**63

    said = said_of_one(contributors)

    assert said["consensus_score"] == max(0, U - reference.coefficient_of_variation(contributors))
    assert said["weighted_strength"] == sum(own * value for own, value in contributors)


def test_every_weighted_sum_of_the_largest_cohort_stays_below_63_bits() -> None:
    assert 2 * (MAX_TOTAL_WEIGHT * U) + MAX_TOTAL_WEIGHT < 2**63
    assert MAX_TOTAL_WEIGHT * 8 * U < 2**63


def test_a_cohort_too_large_for_exact_sums_is_refused() -> None:
    count = MAX_TOTAL_WEIGHT // U + 1

    with pytest.raises(ValueError, match="too large"):
        Members(np.zeros(count, dtype=np.int32), np.full(count, U, dtype=np.int64))


@pytest.mark.parametrize(
    ("organisation", "weight", "complaint"),
    [
        ([0], [0], "1 … 1,000,000"),
        ([0], [U + 1], "1 … 1,000,000"),
        ([0, 2], [1, 1], "dense"),
        ([0], [1, 1], "same length"),
    ],
)
def test_a_cohort_that_makes_no_sense_is_refused(
    organisation: list[int], weight: list[int], complaint: str
) -> None:
    with pytest.raises(ValueError, match=complaint):
        Members(np.array(organisation, dtype=np.int32), np.array(weight, dtype=np.int64))


def test_cells_whose_columns_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="same length"):
        Cells(np.zeros(2, dtype=np.int32), np.zeros(1, dtype=ROW), ("drift",))
    with pytest.raises(ValueError, match="dtype ROW"):
        Cells(np.zeros(1, dtype=np.int32), np.zeros(1, dtype=np.int64), ("drift",))


def test_the_library_needs_three_organisations() -> None:
    row = ("drift", 900_000, 900_000, 900_000, 1)
    reports = {"a": {A: row, B: row}, "b": {A: row, B: row}, "c": {A: row}}

    said = by_signature(compute(equal_federation(reports)).aggregates[0])

    assert (said[A]["in_library"], said[B]["in_library"]) == (True, False)
    assert said[B]["emergence"] == 0


def test_clones_of_one_organisation_do_not_make_a_library() -> None:
    row = ("drift", 900_000, 900_000, 900_000, 1)
    federation = Federation(
        reports={name: {A: row} for name in "abcde"} | {"x": {}, "y": {}},
        organisations=dict.fromkeys("abcde", "one") | {"x": "two", "y": "three"},
        weights=dict.fromkeys("abcdexy", U),
        participation={},
        configuration=Configuration(),
    )

    assert not by_signature(compute(federation).aggregates[0])[A]["in_library"]


def test_alone_an_organisation_has_the_library_of_its_instances() -> None:
    row = ("drift", U, U, U, 1)
    federation = Federation(
        reports={"a": {A: row, B: row}, "b": {A: row}, "c": {}, "d": {}},
        organisations=dict.fromkeys("abcd", "one"),
        weights=dict.fromkeys("abcd", U),
        participation={},
        configuration=Configuration(),
    )

    said = by_signature(compute(federation).aggregates[0])

    assert (said[A]["in_library"], said[B]["in_library"]) == (True, False)
    assert said[A]["emergence"] == (500_000 + 3 * U) // 4  # reach: 2 of 4 instances


def test_the_pattern_type_is_what_the_greatest_weight_says() -> None:
    said = said_types([(3, "retry"), (2, "drift"), (2, "drift")])

    assert said == "drift"


def test_of_equal_pattern_types_the_smallest_word_is_taken() -> None:
    assert said_types([(3, "retry"), (3, "latency"), (1, "anomaly")]) == "latency"


def said_types(contributors: list[tuple[int, str]]) -> str:
    reports = {
        f"i{n}": {A: (word, 1, 1, 1, 1), B: ("drift", 1, 1, 1, 1)} for n, (_, word) in enumerate(contributors)
    }
    federation = Federation(
        reports=reports,
        organisations={name: name for name in reports},
        weights={f"i{n}": own for n, (own, _) in enumerate(contributors)},
        participation={},
        configuration=Configuration(),
    )
    said = by_signature(compute(federation).aggregates[0])
    assert said[B]["pattern_type"] == "drift"
    return str(said[A]["pattern_type"])


def test_signatures_keep_their_trailing_zeros_and_are_told_apart_behind_64_bits() -> None:
    row = ("drift", 1, 1, 1, 1)
    ids = ["00" * 16, "00" * 15 + "01", "ff" * 15 + "00", "ff" * 8 + "00" * 8]

    said = compute(equal_federation({"a": dict.fromkeys(ids, row), "b": dict.fromkeys(ids, row)})).aggregates[
        0
    ]

    assert said.signature_ids() == sorted(ids)
    assert said.instance_count.tolist() == [2, 2, 2, 2]


def test_frequencies_are_summed_beyond_32_bits() -> None:
    row = ("drift", 1, 1, 1, 2**31 - 1)

    said = by_signature(
        compute(equal_federation({"a": {A: row}, "b": {A: row}, "c": {A: row}})).aggregates[0]
    )

    assert said[A]["total_frequency"] == 3 * (2**31 - 1)


@pytest.mark.parametrize("method", [Method("mean"), Method("median"), Method("trimmed", 100_000)])
@pytest.mark.parametrize("members", [0, 3])
def test_a_bucket_without_cells_has_no_aggregates(method: Method, members: int) -> None:
    nothing = Cells(np.zeros(0, dtype=np.int32), np.zeros(0, dtype=ROW), ())
    cohort = Members(np.arange(members, dtype=np.int32), np.ones(members, dtype=np.int64))

    said = aggregate(nothing, cohort, method)

    assert len(said) == 0
    assert said.signature_ids() == []
