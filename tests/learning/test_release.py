"""What may leave the system, and how coarse it is."""

import pytest

from convergence.replay.reference import Configuration, Row
from learning.micro import U
from learning.release import Release, releasable
from tests.learning.federations import Federation, compute

A = "a" * 32
FULL: Row = ("drift", 876_543, 765_432, 912_345, 100)


def federation(organisations: list[str], weights: list[int] | None = None, k: int = 5) -> Federation:
    """Return a federation whose instances, of the given organisations, all hold one pattern."""
    names = [f"i{n}" for n in range(len(organisations))]
    return Federation(
        reports={name: {A: FULL} for name in names},
        organisations=dict(zip(names, organisations, strict=True)),
        weights=dict(zip(names, weights or [U] * len(names), strict=True)),
        participation={},
        configuration=Configuration(release_threshold=k),
    )


def released(case: Federation) -> list[Release]:
    return list(compute(case).released)


def test_below_the_threshold_nothing_is_released() -> None:
    assert released(federation(list("abcd"))) == []
    assert len(released(federation(list("abcde")))) == 1


def test_instances_of_one_organisation_count_once() -> None:
    assert released(federation(list("aaaaabbccdd"))) == []


def test_an_organisation_with_more_than_half_of_the_weight_withholds() -> None:
    dominated, on_the_edge = [401, 100, 100, 100, 100], [400, 100, 100, 100, 100]

    assert released(federation(list("abcde"), dominated)) == []
    assert len(released(federation(list("abcde"), on_the_edge))) == 1


def test_the_instances_of_a_dominant_organisation_are_taken_together() -> None:
    assert released(federation(list("aaabcde"), [200, 200, 1, 100, 100, 100, 100])) == []
    assert len(released(federation(list("aabcde"), [200, 200, 100, 100, 100, 100]))) == 1


def test_a_pattern_of_two_organisations_can_be_released_if_the_threshold_says_so() -> None:
    assert len(released(federation(list("ab"), k=2))) == 1


@pytest.mark.parametrize("k", [-1, 0, 1])
def test_a_threshold_below_two_is_refused(k: int) -> None:
    (aggregates,) = compute(federation(list("abcde"))).aggregates

    with pytest.raises(ValueError, match="at least 2"):
        releasable(aggregates, k)


def test_released_values_have_two_decimals_and_no_contributors() -> None:
    (release,) = released(federation(list("abcdefg")))

    assert release == Release(
        pattern_id=A,
        pattern_type="drift",
        organisation_count=5,
        instance_count=5,
        total_frequency=512,
        average_strength=0.88,
        average_resonance=0.77,
        average_epistemic_certainty=0.91,
        consensus_score=1.0,
    )


@pytest.mark.parametrize(
    ("k", "count", "shown"),
    [
        (5, 5, 5), (5, 9, 5), (5, 10, 10), (5, 19, 10), (5, 20, 20), (5, 49, 20), (5, 50, 50), (5, 99, 50),
        (5, 100, 100), (5, 199, 100), (5, 200, 200), (2, 3, 2), (2, 9, 2), (12, 15, 12), (12, 20, 20),
        (10, 12, 10),
    ],
)  # fmt: skip
def test_counts_are_rounded_down_on_the_ladder(k: int, count: int, shown: int) -> None:
    (release,) = released(federation([f"o{n}" for n in range(count)], k=k))

    assert (release.organisation_count, release.instance_count) == (shown, shown)


def test_instances_and_organisations_are_counted_apart() -> None:
    (release,) = released(federation([f"o{n % 6}" for n in range(24)]))

    assert (release.organisation_count, release.instance_count) == (5, 20)


@pytest.mark.parametrize(
    ("frequencies", "shown"),
    [([1] * 5, 4), ([1, 1, 2, 2, 2], 8), ([2**31 - 1] * 5, 2**33), ([2**30] * 4 + [2**31 - 1], 2**32)],
)
def test_the_total_frequency_is_rounded_down_to_a_power_of_two(frequencies: list[int], shown: int) -> None:
    case = federation(list("abcde"))
    reports = {
        name: {A: ("drift", 876_543, 765_432, 912_345, frequency)}
        for name, frequency in zip(case.reports, frequencies, strict=True)
    }

    (release,) = released(Federation(reports, case.organisations, case.weights, {}, case.configuration))

    assert release.total_frequency == shown


def test_a_change_below_the_published_precision_is_no_change() -> None:
    before, after = federation(list("abcdef")), federation(list("abcdefg"))

    assert released(before) == released(after)
