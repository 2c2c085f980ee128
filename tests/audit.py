"""Audits: a round on the bus, held against the slow reference."""

from collections.abc import Iterable, Mapping

from convergence.patterns import Pattern
from convergence.rounds import RoundRecord
from learning.identity import signature_id
from schemas.convergence import SynchronizationCompleted
from schemas.rounds import AggregationCompleted, DetectionCompleted, MemberScores
from tests import reference

#: The scores of the federation: as the bus names them, as the reference does.
TERMS = {
    "global_convergence": "convergence",
    "pattern_alignment": "alignment",
    "global_emergence": "emergence",
    "convergence_variance": "variance",
    "mean_convergence": "mean",
    "weighted_mean_convergence": "weighted_mean",
}

MIN_CERTAINTY, MIN_QUALITY = 850_000, 700_000


def admissible_rows(patterns: Iterable[Pattern], key: bytes) -> dict[str, reference.Row]:
    """Return what must become of a report: rows by signature, in micro-units, behind the gates."""
    rows: dict[str, reference.Row] = {}
    for pattern in patterns:
        micro = [
            int(value * 1e6 + 0.5)
            for value in (pattern.strength, pattern.resonance, pattern.epistemic_certainty)
        ]
        signature = signature_id(
            key, pattern.pattern_type, pattern.modules, pattern.event_types, pattern.pattern_id
        )
        if micro[2] >= MIN_CERTAINTY and micro[0] + micro[2] >= 2 * MIN_QUALITY and signature not in rows:
            rows[signature] = (pattern.pattern_type, micro[0], micro[1], micro[2], pattern.frequency)
    return rows


def audit(found: RoundRecord, reports: reference.Reports, organisations: Mapping[str, str]) -> None:
    """Assert that a synchronization has one result, and that it is the reference's to the last digit."""
    (completed,) = [event for event in found.published if isinstance(event, SynchronizationCompleted)]
    aggregated = found.hand_overs["AggregationCompleted"]
    detected = found.hand_overs["DetectionCompleted"]
    assert isinstance(aggregated, AggregationCompleted)
    assert isinstance(detected, DetectionCompleted)
    instances = aggregated.instances
    cohort = [place for place, weight in enumerate(instances.weight) if weight]
    expected = reference.compute(
        reports,
        organisations,
        {instances.instance_id[place]: instances.weight[place] for place in cohort},
        {
            instances.instance_id[place]: (
                aggregated.participation.attended[place],
                aggregated.participation.counted[place],
            )
            for place in cohort
        },
        reference.Configuration(release_threshold=detected.configuration.release_threshold),
    )
    assert detected.global_scores is not None
    for name, term in TERMS.items():
        assert getattr(detected.global_scores, name) == expected.federation[term], name
    for place in cohort:
        instance_id = instances.instance_id[place]
        for name in MemberScores.model_fields:
            ours = getattr(detected.scores, name)[place]
            assert ours == expected.instances[instance_id][name], (instance_id, name)
    assert detected.converged == expected.converged
    assert detected.releases is not None
    assert detected.releases.released == len(expected.releases)
    public = (2 * detected.global_scores.global_convergence + 100) // 200
    assert round(completed.global_convergence * 10_000) == public
