"""The terminal: what it shows, letter by letter, and what its keys do.

``FLC_UPDATE_SNAPSHOTS=1`` writes the files that are compared with; read the difference before it is kept.
"""

import os
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console, RenderableType

from convergence.observation.explanation import explain, explain_abandoned
from convergence.observation.observation import Snapshot
from convergence.observer import Observer
from flc.watch import panels
from flc.watch.screen import Screen
from schemas.convergence import RoundAbandoned
from schemas.health import Status
from tests.observation.federation import Observed
from tests.observation.test_explanation import last, unequal
from tests.workers.line import shared_rows
from workers.runtime.memory import MemoryBus
from workers.runtime.port import Commit, GroupDescription, TopicPartition

SNAPSHOTS = Path(__file__).parent


def assert_shown(name: str, shown: str) -> None:
    """Compare with what was shown when somebody last looked at it."""
    file = SNAPSHOTS / f"{name}.txt"
    if "FLC_UPDATE_SNAPSHOTS" in os.environ:
        file.write_text(shown)
    assert shown == file.read_text()


def plain(renderable: RenderableType) -> str:
    """Return what a terminal without colours shows."""
    out = StringIO()
    Console(file=out, width=130, color_system=None).print(renderable)
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines()) + "\n"


def federation() -> Observed:
    """Return a federation that has not converged, with a worker that works and one that does not."""
    line = unequal()
    line.see("gone", None, status=Status.INACTIVE)
    at = TopicPartition("flc.rounds.v1", 0)
    workers = line.observe().workers
    now_ms = line.now_ms
    for worker, members in (("validation", {"flc-1": frozenset({at})}), ("detection", {})):
        commit = Commit(5, now_ms if members else now_ms - 60_000)
        workers.see(worker, GroupDescription(members, {at: commit}), {at: 5}, now_ms)
    return line


class Frozen(Observer):
    """An observer of what is there already."""

    def __init__(self, line: Observed) -> None:
        super().__init__(MemoryBus(), "default")
        self.observation = line.observation
        self.connected = True
        self._at_ms = line.now_ms

    def snapshot(self) -> Snapshot:
        return self.observation.snapshot(self._at_ms)


def test_everything_once() -> None:
    line = federation()
    seen = line.observation
    _, listed = seen.instances.page("cost", "", 0, 20)
    once = panels.whole(seen.snapshot(line.now_ms), seen.rounds.synchronizations(8), listed, line.now_ms)
    assert_shown("once", plain(once))


def test_a_round_explained() -> None:
    assert_shown("explained", plain(panels.explained(explain(last(unequal())))))


def test_of_a_round_that_was_abandoned_it_does_not_say_that_nothing_holds_it_back() -> None:
    line = Observed(min_instances=3)
    line.report("a", shared_rows(), 1)
    line.ask("now")
    line.wait(60_000)
    (event,) = line.events(RoundAbandoned)
    shown = plain(panels.explained(explain_abandoned(event)))
    assert "Abandoned in collection: 1 in the cohort, 3 are needed" in shown
    assert "Nothing holds it back" not in shown


def test_of_an_empty_federation_it_says_that_nothing_is_there() -> None:
    seen = Observed().observe()
    assert_shown("empty", plain(panels.whole(seen.snapshot(0), [], [], 0)))


def screen_text(screen: Screen) -> str:
    """Return what is on the screen, line by line."""
    strips = screen.screen._compositor.render_strips()
    return "\n".join(strip.text.rstrip() for strip in strips).rstrip() + "\n"


@pytest.fixture
def screen() -> Screen:
    line = federation()
    return Screen(Frozen(line), now_ms=lambda: line.now_ms)


async def test_the_screen_shows_the_panels_and_the_keys(screen: Screen) -> None:
    async with screen.run_test(size=(130, 60)) as pilot:
        await pilot.pause()
        shown = screen_text(screen)
    assert "must exceed 0.90" in shown
    assert "Sort the instances" in shown
    assert_shown("screen", shown)


async def test_a_key_sorts_the_instances(screen: Screen) -> None:
    async with screen.run_test(size=(130, 60)) as pilot:
        await pilot.press("s")
        assert "Instances by name" in screen_text(screen)
        await pilot.press("s")
        assert "Instances by status" in screen_text(screen)


async def test_a_key_shows_updates_too(screen: Screen) -> None:
    async with screen.run_test(size=(130, 60)) as pilot:
        assert "update 1" not in screen_text(screen)
        await pilot.press("u")
        assert "update 1" in screen_text(screen)


async def test_what_is_not_current_says_so(screen: Screen) -> None:
    screen._observer.connected = False
    async with screen.run_test(size=(130, 60)):
        assert "STALE" in screen_text(screen)


async def test_it_ends_with_q(screen: Screen) -> None:
    async with screen.run_test(size=(130, 60)) as pilot:
        await pilot.press("q")
    assert screen.return_code == 0


@pytest.mark.parametrize(
    ("ms", "said"),
    [(None, "never"), (0, "0 s"), (61_000, "1 min"), (7_200_000, "2 h"), (2 * 86_400_000, "2 d")],
)
def test_how_long_ago_something_was(ms: int | None, said: str) -> None:
    assert panels.ago(None if ms is None else 10**12 - ms, 10**12) == said
