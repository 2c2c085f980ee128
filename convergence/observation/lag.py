"""Whether a consumer keeps up, from a sliding window of its commits instead of a threshold.

The five states and their rules are Burrow's (https://github.com/linkedin/Burrow/wiki/Consumer-Lag-Evaluation-Rules),
with one difference: our workers commit every 5 s even when nothing is new, so silence alone says ``stopped``.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise

#: Commits that are looked at: 50 s of them.
WINDOW_COMMITS = 10

#: With fewer commits nothing is said of a tendency.
MIN_COMMITS = 3

#: Without a commit for so long a consumer has stopped; one is due every 5 s.
STOPPED_AFTER_MS = 7_500


class LagState(StrEnum):
    """How a consumer does, the better the earlier."""

    #: It reads everything, or catches up.
    OK = "ok"
    #: It commits, but its lag never falls.
    WARNING = "warning"
    #: It went back to an earlier offset.
    REWOUND = "rewound"
    #: It commits the same offset over and over, and there is more to read.
    STALLED = "stalled"
    #: It does not commit.
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class Seen:
    """A commit: when it was made, up to where, and how many records there were beyond it."""

    at_ms: int
    offset: int
    lag: int


def judge(window: Sequence[Seen], now_ms: int) -> LagState:
    """Return the state of a consumer of one partition from its last commits, the oldest first."""
    if not window or now_ms - window[-1].at_ms > STOPPED_AFTER_MS:
        return LagState.STOPPED
    if any(after.offset < before.offset for before, after in pairwise(window)):
        return LagState.REWOUND
    if len(window) < MIN_COMMITS or any(seen.lag == 0 for seen in window):
        return LagState.OK
    if window[0].offset == window[-1].offset:
        return LagState.STALLED
    falls = any(after.lag < before.lag for before, after in pairwise(window))
    return LagState.OK if falls or window[-1].lag == window[0].lag else LagState.WARNING


def worst(states: Sequence[LagState]) -> LagState:
    """Return the worst of the states; nothing at all counts as stopped."""
    order = list(LagState)
    return max(states, key=order.index, default=LagState.STOPPED)


class Window:
    """The last commits of one partition, as an observer comes to see them."""

    def __init__(self) -> None:
        self._seen: deque[Seen] = deque(maxlen=WINDOW_COMMITS)
        self._mark: tuple[int, int | None] | None = None
        #: How far our clock is ahead of the consumer's, at most: the shortest time from a commit to our look.
        self._ahead_ms: int | None = None
        #: Records beyond the last commit, as of the last look.
        self.lag = 0
        #: When the offset last moved; None: not since the observer looks.
        self.moved_ms: int | None = None

    @property
    def committed_ms(self) -> int | None:
        """When the last commit was made."""
        return self._seen[-1].at_ms if self._seen else None

    def see(self, offset: int, at_ms: int | None, end: int, now_ms: int) -> None:
        """Look: the offset committed last, its time as the consumer says, and the end of the partition.

        The first commit is taken at the time it gives. The others have been made between two looks, which
        tells how wrong the consumer's clock is; so that does no harm for longer than one commit.
        """
        self.lag = max(0, end - offset)
        if self._mark == (offset, at_ms):
            return
        if self._seen:
            if self._seen[-1].offset != offset:
                self.moved_ms = now_ms
            delay_ms = now_ms - (now_ms if at_ms is None else at_ms)
            self._ahead_ms = delay_ms if self._ahead_ms is None else min(delay_ms, self._ahead_ms)
        self._mark = (offset, at_ms)
        made_ms = now_ms if at_ms is None else min(now_ms, at_ms + (self._ahead_ms or 0))
        self._seen.append(Seen(made_ms, offset, self.lag))

    def state(self, now_ms: int) -> LagState:
        """Return how the consumer does."""
        return judge(self._seen, now_ms)
