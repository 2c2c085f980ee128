"""The terminal's screen: the panels, kept current, and the keys that change what is shown."""

from collections.abc import Callable
from typing import ClassVar

from rich.console import Group
from rich.text import Text
from textual.app import App, ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal, VerticalScroll
from textual.widgets import Footer, Static

from convergence.observation.instances import ORDERS
from convergence.observer import Observer
from flc.watch import panels
from workers.runtime.clock import unix_ms

#: Seconds after which the screen is drawn again in any case: it says how long ago things were.
REDRAW_S = 1.0

#: Rounds and instances that are shown.
ROUNDS, INSTANCES = 8, 20


class Screen(App[None]):
    """One federation, live; ends with q."""

    TITLE = "flc watch"
    ENABLE_COMMAND_PALETTE = False
    CSS = """
    Screen { padding: 0 1; }
    Static { height: auto; margin-bottom: 1; }
    #stale { color: $error; }
    #lower { height: auto; }
    #lower > Static { width: auto; margin-right: 4; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        ("q", "quit", "Quit"),
        ("s", "sort", "Sort the instances"),
        ("n", "page(1)", "Next instances"),
        ("p", "page(-1)", "Previous"),
        ("u", "updates", "Updates too"),
    ]

    def __init__(self, observer: Observer, now_ms: Callable[[], int] = unix_ms) -> None:
        super().__init__()
        self._observer = observer
        self._now_ms = now_ms
        self._order = 0
        self._first = 0
        self._with_updates = False

    def compose(self) -> ComposeResult:
        """Lay the panels out."""
        with VerticalScroll():
            yield Static("STALE: the bus does not answer", id="stale")
            yield Static(id="verdict")
            yield Static(id="criteria")
            yield Static(id="costs")
            yield Static(id="rounds")
            yield Static(id="instances")
            with Horizontal(id="lower"):
                yield Static(id="workers")
                yield Static(id="refusals")
        yield Footer()

    def on_mount(self) -> None:
        """Draw, and draw again with every change."""
        self.draw()
        self.run_worker(self._follow())

    async def _follow(self) -> None:
        while True:
            await self._observer.changed(self._observer.version, REDRAW_S)
            self.draw()

    def draw(self) -> None:
        """Draw what the observer sees now."""
        now_ms, snapshot = self._now_ms(), self._observer.snapshot()
        seen = self._observer.observation
        order = list(ORDERS)[self._order]
        total, listed = seen.instances.page(order, "", self._first, INSTANCES)
        ended = seen.rounds.latest(ROUNDS) if self._with_updates else seen.rounds.synchronizations(ROUNDS)
        shown = f"{self._first + 1} to {self._first + len(listed)} of {total}" if total else "none yet"
        heading = Text(f"Instances by {order}, {shown}", style="dim")
        # What is shown is current, or it says that it is not.
        self._panel("stale").display = not self._observer.connected
        self._panel("verdict").update(panels.verdict(snapshot))
        self._panel("criteria").update(panels.criteria(snapshot.explanation))
        self._panel("costs").update(panels.costs(snapshot.explanation))
        self._panel("rounds").update(panels.rounds(ended, now_ms))
        self._panel("instances").update(Group(heading, panels.instances(listed, now_ms)))
        self._panel("workers").update(panels.workers(snapshot.workers, now_ms))
        self._panel("refusals").update(panels.refusals(snapshot.refusals))

    def _panel(self, name: str) -> Static:
        return self.query_one(f"#{name}", Static)

    def action_sort(self) -> None:
        """Sort the instances by the next column."""
        self._order, self._first = (self._order + 1) % len(ORDERS), 0
        self.draw()

    def action_page(self, step: int) -> None:
        """Show the next instances, or the previous ones."""
        first = self._first + step * INSTANCES
        if 0 <= first < self._observer.observation.instances.summary().total:
            self._first = first
            self.draw()

    def action_updates(self) -> None:
        """Show updates among the rounds, or synchronizations only."""
        self._with_updates = not self._with_updates
        self.draw()
