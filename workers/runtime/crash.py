"""Places where a process kills itself when told to: how crash recovery is tested where it matters.

``FLC_CRASH_AT={worker}:{point}[:{n}]`` sends SIGKILL to the own process at the n-th (default: first) time
that the worker reaches the point. The three around a transaction count where something is published.
"""

import os
import signal
from collections.abc import Mapping
from enum import StrEnum
from typing import Self


class CrashPoint(StrEnum):
    """Where a process can die with the most to lose."""

    #: A step was taken, nothing of it is on the bus.
    BEFORE_PUBLISH = "before_publish"
    #: All is on the bus and acknowledged, the transaction is open.
    AFTER_PUBLISH = "after_publish"
    #: The transaction is committed, the task does not know it yet.
    AFTER_COMMIT = "after_commit"
    #: The changelog has been read in part.
    MID_RESTORE = "mid_restore"
    #: The partitions are being taken away.
    IN_REVOKE = "in_revoke"


class Crash:
    """A crash that was asked for, or none."""

    def __init__(self, worker: str = "", point: CrashPoint | None = None, after: int = 1) -> None:
        self._worker = worker
        self._point = point
        self._left = after

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Self:
        """Read FLC_CRASH_AT; raises ValueError if it names no point."""
        wanted = environment.get("FLC_CRASH_AT")
        if not wanted:
            return cls()
        worker, point, *count = wanted.split(":")
        return cls(worker, CrashPoint(point), int(count[0]) if count else 1)

    def reached(self, worker: str, point: CrashPoint) -> None:
        """Die, if this is the place and the time."""
        if (worker, point) != (self._worker, self._point):
            return
        self._left -= 1
        if self._left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
