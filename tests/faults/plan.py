"""What a trial is made of, settled before it starts."""

from collections.abc import Sequence
from dataclasses import dataclass

from tests.faults.load import FEDERATIONS, INSTANCES
from tests.faults.schedule import COPIES, Planned
from workers.catalogue import WORKERS

#: Reports a second.
RATE = 200.0

#: Seconds of load before the first fault: what the throughput under faults is held against.
CLEAN_S = 15.0

#: Seconds for what is left to do when all has healed.
DRAIN_LIMIT_S = 90.0

#: The names of processes, and the workers that each runs.
Layout = Sequence[tuple[str, Sequence[str]]]

#: Each worker in processes of its own.
APART: Layout = [(f"{worker}-{copy}", [worker]) for worker in WORKERS for copy in range(COPIES)]


def instances() -> list[str]:
    """Return the instances of the load, with their federations."""
    return [f"{federation}/i{number:02}" for federation in FEDERATIONS for number in range(INSTANCES)]


@dataclass(frozen=True)
class Plan:
    """What a trial is made of; ``seconds``: for how long faults may strike."""

    seed: str
    seconds: float
    faults: Sequence[Planned]
    layout: Layout
    rate: float = RATE
    clean_s: float = CLEAN_S
    sabotage: str = ""
    drain_limit_s: float = DRAIN_LIMIT_S
