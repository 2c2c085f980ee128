"""The scores of a round from its merged sums."""

from fractions import Fraction
from random import Random

import numpy as np
import pytest

from convergence.replay import exact, reference
from convergence.replay.reference import Row
from learning.cells import Members
from learning.criteria import converged
from learning.micro import U
from learning.partial import LibrarySums, MemberSums, Sums
from learning.scores import GlobalScores, global_scores, score
from tests.learning.federations import compute, equal_federation

A, B, C = "a" * 32, "b" * 32, "c" * 32
FULL: Row = ("drift", U, U, U, 1)


def test_an_empty_cohort_scores_zero_and_has_not_converged() -> None:
    computed = compute(equal_federation({}), 3)

    assert computed.scores.overall == GlobalScores(0, 0, 0, 0, 0, 0)
    assert all(len(column) == 0 for column in vars(computed.scores.members).values())
    assert not converged(computed.criteria)


def test_a_lone_instance_is_aligned_and_shares_nothing() -> None:
    computed = compute(equal_federation({"a": {A: FULL}}))

    assert computed.scores.members.alignment.tolist() == [U]
    assert computed.scores.members.coverage.tolist() == [0]
    assert computed.scores.members.emergence.tolist() == [0]
    assert computed.scores.overall.global_emergence == 0


def test_members_without_rows_score_zero_but_for_participation() -> None:
    computed = compute(equal_federation({"a": {}, "b": {}}))

    members = computed.scores.members
    assert members.alignment.tolist() == members.coverage.tolist() == members.quality.tolist() == [0, 0]
    assert members.participation.tolist() == [U, U]
    assert members.convergence.tolist() == [333_333, 333_333]


def test_perfect_agreement_scores_one_everywhere() -> None:
    computed = compute(equal_federation({name: {A: FULL, B: FULL} for name in "abcde"}))

    assert all(column.tolist() == [U] * 5 for column in vars(computed.scores.members).values())
    assert computed.scores.overall == GlobalScores(U, U, U, 0, U, U)


def test_what_two_organisations_hold_alone_moves_no_score_of_a_third() -> None:
    shared = {name: {A: FULL} for name in "abc"}
    more = shared | {"a": {A: FULL, B: FULL}, "b": {A: FULL, B: FULL}}

    before, after = compute(equal_federation(shared)), compute(equal_federation(more))

    for name in ("alignment", "coverage", "emergence", "unified"):
        column, column_after = getattr(before.scores.members, name), getattr(after.scores.members, name)
        assert column[2] == column_after[2], name


def test_a_guess_that_only_one_victim_holds_tells_the_prober_nothing() -> None:
    shared = {name: {A: FULL} for name in "abc"}
    prober = shared | {"c": {A: FULL, B: FULL}}

    missed = compute(equal_federation(prober | {"a": {A: FULL, C: FULL}}))
    hit = compute(equal_federation(prober | {"a": {A: FULL, B: FULL}}))

    for name, column in vars(hit.scores.members).items():
        assert column[2] == getattr(missed.scores.members, name)[2], name


def test_participation_is_the_share_of_completed_synchronizations() -> None:
    members = Members(np.arange(3, dtype=np.int32), np.full(3, U, dtype=np.int64))

    scores = score(
        compute(equal_federation({name: {A: FULL} for name in "abc"})).sums, members, [(2, 3), (0, 0), (0, 7)]
    )

    assert scores.members.participation.tolist() == [666_667, U, 0]


def test_sums_members_and_participation_must_be_of_one_cohort() -> None:
    computed = compute(equal_federation({name: {A: FULL} for name in "abc"}))

    with pytest.raises(ValueError, match="different cohorts"):
        score(computed.sums, computed.members, [(0, 0)])


def test_alignment_and_coverage_are_exact_beyond_63_bits() -> None:
    overlap, own, shared, held = 2**66 + 12_345, 5_000 * U, 4_999 * U, 5_000 * 2**39
    count = 10_000
    weight = count * U

    def column(value: int) -> np.ndarray:
        return np.full(count, value, dtype=np.int64)

    library = LibrarySums(
        strength=3 * 2**66, weight=7 * held, emergence=7 * held * 987_654, library=9, distinct=9
    )
    sums = Sums(
        MemberSums(
            overlap_hi=column(overlap >> 32),
            overlap_lo=column(overlap & 0xFFFFFFFF),
            own_strength=column(own),
            shared_strength=column(shared),
            shared_weight=column(held),
            shared_emergence=column(5_000 * 987_654),
            certainty=column(5_000 * 912_345),
            resonance=column(5_000 * 812_345),
            rows=column(5_000),
            shared=column(5_000),
        ),
        library,
    )

    scores = score(sums, Members(np.arange(count, dtype=np.int32), column(U)), [(1, 2)] * count)

    larger = (weight - U) * own + library.strength - U * shared - overlap
    assert min(U * overlap, U * held, (weight - U) * own, library.emergence) > 2**63
    assert set(scores.members.alignment.tolist()) == {exact.half_up(Fraction(U * overlap, larger))}
    assert set(scores.members.coverage.tolist()) == {exact.half_up(Fraction(U, 7))}
    assert set(scores.members.quality.tolist()) == {912_345}
    assert set(scores.members.resonance.tolist()) == {812_345}
    assert set(scores.members.emergence.tolist()) == {987_654}
    assert scores.overall.global_emergence == 987_654


def test_the_weighted_moments_of_a_large_cohort_are_exact_beyond_63_bits() -> None:
    random = Random(5)  # noqa: S311
    weights = [random.randint(1, U) for _ in range(5_000)]
    unified = [random.choice((0, U, random.randint(0, U))) for _ in weights]
    alignment = [random.randint(0, U) for _ in weights]
    squares = sum(w * u * u for w, u in zip(weights, unified, strict=True))
    assert min(squares, sum(weights) * squares, sum(weights) ** 2 * U) > 2**63

    scores = global_scores(weights, unified, alignment, 123_456)

    expected = reference.federation_scores(weights, unified, alignment, 123_456)
    assert scores == GlobalScores(
        global_convergence=expected["convergence"],
        pattern_alignment=expected["alignment"],
        global_emergence=expected["emergence"],
        convergence_variance=expected["variance"],
        mean_convergence=expected["mean"],
        weighted_mean_convergence=expected["weighted_mean"],
    )
    assert scores.convergence_variance > 100_000


def test_the_mean_is_unweighted_and_the_weighted_mean_is_not() -> None:
    scores = global_scores([900_000, 100_000], [U, 0], [U, 0], 0)

    assert scores.mean_convergence == 500_000
    assert scores.weighted_mean_convergence == 900_000
    assert scores.convergence_variance == 90_000
    assert scores.global_convergence == 720_000
