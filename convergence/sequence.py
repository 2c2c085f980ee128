"""The sequence of what an instance sends: max(last + 1, now in Unix ms), never back, over restarts too."""

import os
import time
from collections.abc import Callable
from pathlib import Path

from convergence.keys import private_directory

Clock = Callable[[], int]


def now_ms() -> int:
    """Return the wall clock, Unix ms."""
    return time.time_ns() // 1_000_000


class SequenceFile:
    """The sequence of one sender's stream (heartbeats, reports, …), kept in a file beside the keys.

    A number is in the file before it is given out. It is written over the last one, which has the same
    width, and not forced to the disk: after a power failure the clock alone keeps the numbers growing.
    """

    def __init__(self, directory: Path, sender: str, stream: str, clock: Clock = now_ms) -> None:
        private_directory(directory)
        self._path = directory / f"{sender}.{stream}.sequence"
        self._clock = clock
        self._last = self._read()

    def _read(self) -> int:
        try:
            content = self._path.read_bytes()
        except FileNotFoundError:
            return -1
        # Anything but digits is what a power failure left.
        return int(content) if content.isdigit() else -1

    def take(self) -> int:
        """Return the next number of the stream."""
        number = max(self._last + 1, self._clock())
        with os.fdopen(os.open(self._path, os.O_WRONLY | os.O_CREAT, 0o600), "w") as file:
            file.write(f"{number:020d}")
        self._last = number
        return number
