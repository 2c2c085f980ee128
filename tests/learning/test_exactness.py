"""The product and the slow reference give the same integers, however the federation is cut into buckets."""

from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from convergence.replay import reference
from convergence.replay.reference import Configuration
from tests.learning.federations import (
    Federation,
    Round,
    by_instance,
    by_signature,
    compute,
    over_the_bus,
    random_federation,
)

configurations = st.builds(
    Configuration,
    method=st.sampled_from(("mean", "median", "trimmed")),
    trim=st.sampled_from((0, 1, 100_000, 333_333, 499_999)),
    release_threshold=st.integers(2, 6),
    min_convergence=st.integers(0, 1_000_000),
    min_alignment=st.integers(0, 1_000_000),
    max_variance=st.integers(0, 50_000),
    min_emergence=st.integers(0, 1_000_000),
)
randoms = st.integers(0, 2**32).map(Random)
federations = st.builds(
    random_federation,
    random=randoms,
    instances=st.integers(0, 12),
    organisations=st.integers(1, 8),
    signatures=st.integers(0, 12),
    configuration=configurations,
)


@settings(deadline=None, max_examples=400)
@given(federation=federations, order=randoms)
def test_any_cut_and_any_order_give_the_integers_of_the_reference(
    federation: Federation, order: Random
) -> None:
    expected = reference.compute(
        federation.reports,
        federation.organisations,
        federation.weights,
        federation.participation,
        federation.configuration,
    )

    for buckets in (1, 2, 3, 7):
        computed = compute(federation, buckets, order)

        assert aggregates_of(computed) == expected.aggregates
        assert releases_of(computed) == expected.releases
        assert by_instance(federation, computed.scores) == expected.instances
        assert federation_of(computed) == expected.federation
        assert criteria_of(computed) == expected.criteria


@settings(deadline=None, max_examples=50)
@given(federation=federations)
def test_aggregates_stand_in_the_order_of_their_ids(federation: Federation) -> None:
    (aggregates,) = compute(federation).aggregates

    assert aggregates.signature_ids() == sorted(by_signature(aggregates))


@settings(deadline=None, max_examples=50)
@given(federation=federations, order=randoms)
def test_sums_of_any_cut_are_equal_limb_for_limb(federation: Federation, order: Random) -> None:
    whole, cut = compute(federation, 1).sums, compute(federation, 3, order).sums

    assert cut == whole == over_the_bus(whole)


def aggregates_of(computed: Round) -> dict[str, reference.Facts]:
    return {
        signature: facts
        for aggregates in computed.aggregates
        for signature, facts in by_signature(aggregates).items()
    }


def releases_of(computed: Round) -> dict[str, reference.Facts]:
    return {
        release.pattern_id: {
            "pattern_type": release.pattern_type,
            "organisation_count": release.organisation_count,
            "instance_count": release.instance_count,
            "total_frequency": release.total_frequency,
            "hundredths": tuple(
                round(100 * value)
                for value in (
                    release.average_strength,
                    release.average_resonance,
                    release.average_epistemic_certainty,
                    release.consensus_score,
                )
            ),
        }
        for release in computed.released
    }


def federation_of(computed: Round) -> reference.Facts:
    overall = computed.scores.overall
    return {
        "convergence": overall.global_convergence,
        "alignment": overall.pattern_alignment,
        "variance": overall.convergence_variance,
        "emergence": overall.global_emergence,
        "mean": overall.mean_convergence,
        "weighted_mean": overall.weighted_mean_convergence,
        "library": computed.sums.library.library,
        "distinct": computed.sums.library.distinct,
    }


def criteria_of(computed: Round) -> dict[str, reference.Facts]:
    return {
        criterion.name: {
            "value": criterion.value_micro,
            "met": criterion.met,
            "distance": criterion.distance_micro,
        }
        for criterion in computed.criteria
    }
