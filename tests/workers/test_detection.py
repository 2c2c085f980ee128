"""What is scored, and what of it is public."""

from schemas.convergence import ConvergenceUpdated, PatternEmerged, SynchronizationCompleted
from schemas.health import Judged
from schemas.rounds import AggregationCompleted, DetectionCompleted
from tests.workers.line import Line, shared_rows, signature
from workers.fold import Outcome


def test_an_empty_cohort_is_all_zeros() -> None:
    line = Line()
    line.see("alpha", None, judged=Judged(sequence=1, outcome="refused:bad_json"))
    line.run()
    (update,) = line.events(ConvergenceUpdated)
    assert (update.global_convergence, update.pattern_alignment, update.global_emergence) == (0, 0, 0)
    assert (update.instance_count, update.patterns_aggregated, update.convergence_achieved) == (0, 0, False)
    assert [cover.outcome for cover in update.covers] == ["refused:bad_json"]


def test_the_public_result_has_four_decimals_and_an_instance_two() -> None:
    line = Line()
    for name, strength in (("alpha", 912_345), ("beta", 934_567), ("gamma", 901_239)):
        line.report(name, shared_rows(strength=strength), 1)
    line.run()
    (detected,) = line.events(DetectionCompleted)
    (update,) = line.events(ConvergenceUpdated)
    assert detected.global_scores is not None
    exact = detected.global_scores.global_convergence
    assert exact % 100 != 0
    assert update.global_convergence == (exact + 50) // 100 / 10_000
    assert update.instance_scores[0].alignment == (detected.scores.alignment[0] + 5_000) // 10_000 / 100
    for criterion, verdict in zip(update.criteria, detected.criteria, strict=True):
        assert abs(criterion.distance - verdict.distance / 1e6) <= 5e-5 + 1e-12


def test_what_a_synchronization_releases_for_the_first_time_emerges() -> None:
    line = Line(collection_deadline_ms=100, acknowledgement_deadline_ms=100, release_threshold=2)
    for name in ("alpha", "beta"):
        line.report(name, shared_rows(2), 1)
    line.ask("first")
    line.wait(10_000)
    assert [each.pattern_id for each in line.events(PatternEmerged)] == [signature(0), signature(1)]
    for name in ("alpha", "beta"):
        line.report(name, shared_rows(3), 2)
    line.ask("second")
    line.wait(10_000)
    assert [each.pattern_id for each in line.events(PatternEmerged)[2:]] == [signature(2)]
    assert [each.patterns_emerged for each in line.events(SynchronizationCompleted)] == [2, 1]


def test_an_aggregation_that_comes_twice_is_a_duplicate() -> None:
    line = Line()
    line.report("alpha", shared_rows(), 1)
    line.run()
    (aggregated,) = line.events(AggregationCompleted)
    line.publish(aggregated, aggregated.round_id, line.federation_partition(), "again")
    line.run()
    assert len(line.events(DetectionCompleted)) == 1
    assert line.handled["detection", AggregationCompleted.topic, Outcome.DUPLICATE] == 1
