"""The public result of a synchronization."""

from schemas.convergence import SynchronizationCompleted
from schemas.reasons import DropReason
from schemas.rounds import DistributionCompleted, Phase
from tests.workers.line import Line, shared_rows
from workers.fold import Outcome


def synchronized(release_threshold: int = 5) -> Line:
    """Return a line with one synchronization: beta is a straggler, gamma has nothing, alpha acknowledges."""
    line = Line(release_threshold=release_threshold)
    for name in ("alpha", "beta"):
        line.report(name, shared_rows(), 1)
    line.report("gamma", {}, 1)
    line.ask("please")
    line.run()
    line.now_ms += 100
    line.report("alpha", shared_rows(), 2)
    line.wait(9_900)
    line.now_ms += 20
    line.acknowledge("alpha", "default/synchronization/1")
    line.run()
    return line


def result(line: Line) -> SynchronizationCompleted:
    (completed,) = line.events(SynchronizationCompleted)
    return completed


def test_it_says_who_was_in_in_numbers() -> None:
    completed = result(synchronized())
    assert (completed.instances_synced, completed.stragglers, completed.acknowledged) == (2, 1, 1)
    assert completed.dropped == {DropReason.NO_PATTERNS: 1}
    assert completed.commands == ("please",)
    assert completed.convergence_score == completed.global_convergence > 0
    assert [each.instance_id for each in completed.instance_scores] == ["alpha", "beta"]


def test_the_phases_follow_each_other_without_a_gap() -> None:
    line = synchronized()
    completed = result(line)
    assert list(completed.phase_duration_ms) == list(Phase)[:-1]
    assert completed.phase_duration_ms[Phase.COLLECTION] == 10_000
    assert completed.phase_duration_ms[Phase.DISTRIBUTION] == 20
    assert sum(completed.phase_duration_ms.values()) == completed.sync_duration_ms == 10_020


def test_it_warns_of_stragglers_and_of_a_low_release_threshold() -> None:
    completed = result(synchronized(release_threshold=3))
    assert len(completed.warnings) == 2
    assert "1 of the cohort" in completed.warnings[0]
    assert "threshold of 3" in completed.warnings[1]
    assert completed.errors == ()


def test_it_warns_of_missing_acknowledgements_without_a_name() -> None:
    line = Line(acknowledgement_deadline_ms=1_000)
    for sequence in (1, 2):
        for name in ("alpha", "beta"):
            line.report(name, shared_rows(), sequence)
        if sequence == 1:
            line.ask("please")
        line.run()
    line.wait(1_000)
    (warning,) = result(line).warnings
    assert warning.startswith("2 instances did not acknowledge")


def test_a_distribution_that_comes_twice_is_a_duplicate() -> None:
    line = synchronized()
    (distributed,) = line.events(DistributionCompleted)
    line.publish(distributed, distributed.round_id, line.federation_partition(), "again")
    line.run()
    result(line)
    assert line.handled["verification", DistributionCompleted.topic, Outcome.DUPLICATE] == 1
