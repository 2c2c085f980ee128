"""The negative controls: trials of a sabotaged product. One that passes is a hole in the harness."""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.faults import trial
from tests.faults.checks import Check
from tests.faults.plan import Layout, Plan
from tests.faults.sabotage import SABOTAGES
from tests.faults.schedule import COPIES, Kind, Planned
from workers.catalogue import WORKERS
from workers.runtime.crash import CrashPoint

#: So many controls run at the same time: most of one is waiting.
AT_ONCE = 3

#: Reports a second, seconds before the first fault, and for the drain, which may have to be in vain.
RATE, CLEAN_S, DRAIN_LIMIT_S = 60.0, 3.0, 30.0

#: The worker that is struck has processes of its own, the others share theirs.
LAYOUT: Layout = [
    *((f"privacy-{copy}", ["privacy"]) for copy in range(COPIES)),
    *((f"rest-{copy}", [worker for worker in WORKERS if worker != "privacy"]) for copy in range(COPIES)),
]

_CRASHES = [
    Planned(at_s, Kind.CRASH, f"privacy-{copy}", 12.0, CrashPoint.BEFORE_PUBLISH)
    for copy, at_s in enumerate((0.0, 2.0))
]
_ZOMBIES = [Planned(0.0, Kind.ZOMBIE, "privacy-0", 18.0)]
_REFUSALS = [Planned(at_s, Kind.REFUSAL, "flc.contributions.v1", 2.0) for at_s in (0.0, 6.0)]
_KILLS = [Planned(0.0, Kind.KILL, "privacy-0", 0.5)]

#: Sabotage -> what must strike for it to do harm, and the checks of which one must find it.
CONTROLS: dict[str, tuple[Sequence[Planned], frozenset[int]]] = {
    "commit_first": (_CRASHES, frozenset({1, 3})),
    "forget_futures": (_REFUSALS, frozenset({1})),
    "random_ids": (_ZOMBIES, frozenset({1})),
    "ignore_revocation": (_KILLS, frozenset({1, 7})),
    "ignore_sequences": ((), frozenset({2})),
    "sum_floats": ((), frozenset({2})),
    "release_by_instances": ((), frozenset({5})),
    "trust_dirty_state": (_REFUSALS, frozenset({1})),
    "cut_at_the_barrier": ((), frozenset({2})),
}

#: Seconds of a control without faults: two synchronizations are in them.
QUIET_S = 9.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Control:
    """What became of a control."""

    sabotage: str
    expected: frozenset[int]
    failed: Sequence[Check]

    @property
    def caught(self) -> bool:
        """Whether a check failed that is there for it."""
        return any(check.number in self.expected for check in self.failed)


async def run(directory: Path, names: Sequence[str] = tuple(CONTROLS)) -> list[Control]:
    """Run the controls, some at a time."""
    room = asyncio.Semaphore(AT_ONCE)

    async def one(name: str) -> Control:
        async with room:
            return await _run(name, directory / name)

    return list(await asyncio.gather(*(one(name) for name in names)))


async def _run(name: str, directory: Path) -> Control:
    faults, expected = CONTROLS[name]
    plan = Plan(
        seed=name,
        seconds=QUIET_S,
        faults=faults,
        layout=LAYOUT,
        rate=RATE,
        clean_s=CLEAN_S,
        sabotage=name,
        drain_limit_s=DRAIN_LIMIT_S,
    )
    outcome = await trial.run(plan, directory)
    control = Control(name, expected, [check for check in outcome.checks if check.problems])
    _log.info(
        "%s: %s after %.0f s",
        SABOTAGES[name].what,
        "caught" if control.caught else "NOT CAUGHT",
        outcome.took_s,
    )
    return control
