"""What strikes is settled by the seed alone, and everything gets its turn."""

from tests.faults.plan import instances
from tests.faults.schedule import A_MINUTE, Kind, every_point, schedule
from workers.catalogue import WORKERS

NAMES = list(WORKERS)


def test_a_seed_gives_the_same_schedule_every_time() -> None:
    assert schedule(7, 120, NAMES, instances()) == schedule(7, 120, NAMES, instances())
    assert schedule(7, 120, NAMES, instances()) != schedule(8, 120, NAMES, instances())


def test_every_kind_of_fault_strikes_within_two_minutes() -> None:
    kinds = {one.kind for one in schedule(0, 120, NAMES, instances())}
    assert kinds == set(Kind) == set(A_MINUTE)


def test_a_trial_of_ten_minutes_goes_through_every_crash_point_of_every_worker() -> None:
    planned = schedule(0, 600, NAMES, instances())
    reached = {(one.target.rpartition("-")[0], one.detail) for one in planned if one.kind is Kind.CRASH}
    assert reached == set(every_point(NAMES))


def test_trials_that_follow_each_other_go_through_every_crash_point_of_every_worker() -> None:
    planned = [one for seed in range(6) for one in schedule(seed, 120, NAMES, instances())]
    reached = {(one.target.rpartition("-")[0], one.detail) for one in planned if one.kind is Kind.CRASH}
    assert reached == set(every_point(NAMES))


def test_no_worker_has_two_faults_at_the_same_time() -> None:
    for seed in range(10):
        until: dict[str, float] = {}
        for one in schedule(seed, 120, NAMES, instances()):
            worker = one.target.rpartition("-")[0] or one.target
            assert one.at_s >= until.get(worker, 0.0), (seed, one)
            until[worker] = one.at_s + one.duration_s
