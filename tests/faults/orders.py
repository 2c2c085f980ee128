"""Orders to a worker's process, given on its standard input: die here, stop there, be slow.

``{action} {worker} {point} [{claim}]``: ``kill`` or ``stop`` the process when the worker next reaches a crash
point; of all that are told the same claim only the first.
``drag {worker} {seconds}``: take so long for each record; 0 ends it. A process whose input ends has lost the
one who watches over it, and ends too.
"""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from workers.catalogue import WORKERS
from workers.fold import Record, State, Step, Worker
from workers.runtime.crash import Crash, CrashPoint

#: The orders of this process: (worker, point) -> signal and claim, and worker -> seconds a record.
_deaths: dict[tuple[str, str], tuple[signal.Signals, str]] = {}
_drags: dict[str, float] = {}

_ACTIONS = {"kill": signal.SIGKILL, "stop": signal.SIGSTOP}


class ObedientCrash(Crash):
    """Crashes as the environment says, and as it is ordered."""

    def reached(self, worker: str, point: CrashPoint) -> None:
        """Die or stop, if this is the place."""
        super().reached(worker, point)
        how, claim = _deaths.pop((worker, point.value), (None, ""))
        if how is not None and (not claim or _is_first(claim)):
            os.kill(os.getpid(), how)


def obey() -> None:
    """Follow orders from now on."""
    Crash.from_environment = classmethod(  # type: ignore[method-assign, assignment]
        lambda cls, *_: _from_environment(cls)
    )
    for worker in WORKERS.values():
        worker.step = _dragging(worker.name, worker.step)  # type: ignore[method-assign]
    threading.Thread(target=_listen, daemon=True).start()


def _from_environment(_: type[Crash]) -> Crash:
    wanted = os.environ.get("FLC_CRASH_AT")
    if not wanted:
        return ObedientCrash()
    worker, point = wanted.split(":")
    return ObedientCrash(worker, CrashPoint(point))


def _dragging(name: str, step: Callable[..., Step]) -> Callable[..., Step]:
    def dragged(self: Worker[Any], state: State, records: Sequence[Record]) -> Step:
        for _ in records:
            if seconds := _drags.get(name):
                time.sleep(seconds)
        return step(self, state, records)

    return dragged


def _is_first(claim: str) -> bool:
    """Make a file of the claim in the directory that all processes share; False if there is one."""
    try:
        Path(claim).touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def take(order: str) -> None:
    """Take an order; it holds from now on."""
    action, worker, what, *claim = order.split()
    if action == "drag":
        _drags[worker] = float(what)
    else:
        _deaths[worker, what] = _ACTIONS[action], "".join(claim)


def _listen() -> None:
    for line in sys.stdin:
        take(line)
    os._exit(1)
