"""A moment by which something must have happened."""

from workers.runtime.clock import Clock


class Deadline:
    """A moment ``seconds`` from now on a monotonic clock."""

    __slots__ = ("_at", "_clock", "_seconds")

    def __init__(self, clock: Clock, seconds: float) -> None:
        self._clock = clock
        self._seconds = seconds
        self._at = clock.monotonic() + seconds

    @property
    def expired(self) -> bool:
        """Whether the moment has passed."""
        return self._clock.monotonic() >= self._at

    def extend(self) -> None:
        """Start the same span again, from now: something happened."""
        self._at = self._clock.monotonic() + self._seconds
