"""The five states of a consumer."""

import pytest

from convergence.observation.lag import MIN_COMMITS, STOPPED_AFTER_MS, LagState, Seen, Window, judge, worst

NOW_MS = 100_000


def window(*seen: tuple[int, int]) -> list[Seen]:
    """Return commits (offset, lag), 5 s apart, the last one now."""
    first = NOW_MS - 5_000 * (len(seen) - 1)
    return [Seen(first + 5_000 * number, *one) for number, one in enumerate(seen)]


@pytest.mark.parametrize(
    ("commits", "state"),
    [
        ([(10, 0), (10, 0), (10, 0)], LagState.OK),  # idle: nothing to read
        ([(10, 5), (20, 9), (30, 7)], LagState.OK),  # behind, but the lag falls now and then
        ([(10, 5), (20, 5), (30, 5)], LagState.OK),  # keeps pace
        ([(10, 5), (10, 6)], LagState.OK),  # too early to tell
        ([(10, 0), (20, 5), (30, 9)], LagState.OK),  # was at the end a moment ago
        ([(10, 5), (20, 6), (30, 7)], LagState.WARNING),
        ([(10, 5), (10, 5), (10, 8)], LagState.STALLED),
        ([(10, 5), (10, 5), (10, 5)], LagState.STALLED),
        ([(10, 0), (8, 2), (9, 1)], LagState.REWOUND),
        ([], LagState.STOPPED),
    ],
)
def test_a_consumer_is_judged_by_its_last_commits(commits: list[tuple[int, int]], state: LagState) -> None:
    assert judge(window(*commits), NOW_MS) is state


def test_without_commits_it_has_stopped_even_if_it_had_read_everything() -> None:
    commits = window((10, 0), (10, 0), (10, 0))
    assert judge(commits, NOW_MS + STOPPED_AFTER_MS) is LagState.OK
    assert judge(commits, NOW_MS + STOPPED_AFTER_MS + 1) is LagState.STOPPED


def test_the_same_offset_committed_again_is_a_sign_of_life() -> None:
    seen = Window()
    for look in range(5):
        seen.see(10, at_ms=NOW_MS + look * 5_000, end=10, now_ms=NOW_MS + look * 5_000)
    assert seen.state(NOW_MS + 20_000) is LagState.OK
    assert seen.moved_ms is None


def test_looking_more_often_than_it_commits_makes_no_commits() -> None:
    seen = Window()
    for second in range(20):
        seen.see(10, at_ms=NOW_MS, end=10 + second, now_ms=NOW_MS + second * 100)
    assert seen.lag == 19
    assert seen.state(NOW_MS + 2_000) is LagState.OK
    assert seen.state(NOW_MS + STOPPED_AFTER_MS + 1) is LagState.STOPPED


def test_a_consumer_whose_clock_is_behind_is_believed_from_its_second_commit_on() -> None:
    seen = Window()
    seen.see(10, at_ms=NOW_MS - 3_600_000, end=10, now_ms=NOW_MS)
    assert seen.state(NOW_MS) is LagState.STOPPED
    seen.see(10, at_ms=NOW_MS - 3_595_000, end=10, now_ms=NOW_MS + 5_000)
    assert seen.state(NOW_MS + 5_000) is LagState.OK


def test_looking_late_does_not_make_a_commit_younger() -> None:
    seen = Window()
    for number, late_ms in enumerate((0, 100, 2_000)):
        at_ms = NOW_MS + number * 5_000
        seen.see(10, at_ms=at_ms, end=10, now_ms=at_ms + late_ms)
    assert seen.committed_ms == NOW_MS + 10_100
    assert seen.state(NOW_MS + 10_101 + STOPPED_AFTER_MS) is LagState.STOPPED


def test_a_consumer_that_moves_shows_when_it_did() -> None:
    seen = Window()
    seen.see(10, at_ms=NOW_MS, end=30, now_ms=NOW_MS)
    seen.see(20, at_ms=NOW_MS + 5_000, end=30, now_ms=NOW_MS + 5_100)
    assert seen.moved_ms == NOW_MS + 5_100
    assert seen.lag == 10


def test_a_worker_is_as_well_as_its_worst_partition() -> None:
    assert worst([LagState.OK, LagState.STALLED, LagState.WARNING]) is LagState.STALLED
    assert worst([]) is LagState.STOPPED
    assert MIN_COMMITS == 3
