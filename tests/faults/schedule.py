"""Which fault strikes when, and whom: a pure function of the seed, written down before anything starts."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import cycle, islice
from random import Random

from tests.faults.proxy import Mode
from workers.runtime.crash import CrashPoint


class Kind(StrEnum):
    """What can go wrong."""

    #: A worker is killed at a random moment.
    KILL = "kill"
    #: A worker is killed at a named point.
    CRASH = "crash"
    #: A worker is stopped in front of a transaction, loses its partitions, and goes on.
    ZOMBIE = "zombie"
    #: The broker is killed and started again.
    BROKER = "broker"
    #: A worker's connections suffer, in one of the modes of the proxy.
    NETWORK = "network"
    #: A worker takes longer for a record than its session lasts.
    SLOW = "slow"
    #: A third process joins and leaves a group, again and again.
    STORM = "storm"
    #: An instance changes its key; then the old one is revoked, and used.
    KEYS = "keys"
    #: The broker refuses what is written to a topic.
    REFUSAL = "refusal"


@dataclass(frozen=True)
class Planned:
    """A fault of the schedule; times are seconds from the first moment at which one may strike."""

    at_s: float
    kind: Kind
    #: The process of a worker, an instance, the broker or a topic.
    target: str
    #: How long it lasts; of a crash: how long it is thought to take until it comes true.
    duration_s: float
    #: The crash point, or the mode of the network.
    detail: str = ""
    #: Nothing else strikes until it is over: its recovery is its own.
    alone: bool = False


#: What strikes in a minute, and for how many seconds (from, to).
A_MINUTE: dict[Kind, tuple[int, tuple[float, float]]] = {
    Kind.KILL: (4, (0.5, 3.0)),
    Kind.CRASH: (8, (14.0, 14.0)),
    Kind.ZOMBIE: (2, (18.0, 18.0)),
    Kind.BROKER: (1, (1.0, 10.0)),
    Kind.NETWORK: (5, (3.0, 6.0)),
    Kind.SLOW: (1, (10.0, 10.0)),
    Kind.STORM: (1, (24.0, 24.0)),
    Kind.KEYS: (2, (1.0, 1.0)),
    Kind.REFUSAL: (1, (2.0, 4.0)),
}

#: What strikes alone in the beginning of a trial that is long enough, so often each …
ALONE: dict[Kind, int] = {Kind.KILL: 2, Kind.BROKER: 1, Kind.NETWORK: 1}

#: … and every so many seconds; for so many seconds each. Trials of two minutes and more are long enough.
ALONE_EVERY_S, ALONE_FOR_S, ALONE_FROM_S = 18.0, 3.0, 120.0

#: So many faults last at the same time, at most.
LANES = 4

#: Processes of each worker.
COPIES = 2

#: The last process of a worker is the one behind a proxy.
PROXIED = COPIES - 1

#: Workers whose records are handled on the loop that also sends the heartbeats.
ON_THE_LOOP = ("privacy", "health", "collection", "validation", "consensus", "detection", "verification")

#: Seconds for the target of one fault to come back before the next.
_REST_S = 4.0


def schedule(
    seed: int, seconds: float, workers: Sequence[str], instances: Sequence[str]
) -> tuple[Planned, ...]:
    """Return the faults of a trial by their time: some alone, then the others for ``seconds``."""
    random = Random(f"faults {seed}")  # noqa: S311  (a seed, not a secret)
    minutes = max(1, round(seconds / 60))
    deck = [kind for kind, (count, _) in A_MINUTE.items() for _ in range(count * minutes)]
    random.shuffle(deck)
    points, modes = _points(seed, deck.count(Kind.CRASH), workers), cycle(list(Mode)[1:])
    planned = list(_alone(random, workers)) if seconds >= ALONE_FROM_S else []
    begin_s = len(planned) * ALONE_EVERY_S
    lanes = [begin_s + random.uniform(0, 2) for _ in range(LANES)]
    free: dict[str, float] = {}
    for kind in deck:
        lane = min(range(LANES), key=lanes.__getitem__)
        at_s, duration_s = lanes[lane], round(random.uniform(*A_MINUTE[kind][1]), 1)
        busy = {target for target, until in free.items() if until > at_s}
        detail = ""
        match kind:
            case Kind.BROKER:
                owner, target = "broker", "broker"
            case Kind.REFUSAL:
                owner, target = "topic", "flc.contributions.v1"
            case Kind.KEYS:
                owner = target = random.choice(instances)
            case Kind.CRASH:
                # A worker that has a fault already comes later.
                (owner, detail) = next(((w, p) for w, p in points if w not in busy), points[0])
                points.remove((owner, detail))
                target = f"{owner}-{random.randrange(COPIES)}"
            case Kind.NETWORK:
                detail = next(modes)
                owner = _free(random, workers, busy)
                target = f"{owner}-{PROXIED}"
            case Kind.SLOW | Kind.ZOMBIE | Kind.KILL | Kind.STORM:
                owner = _free(random, ON_THE_LOOP if kind is Kind.SLOW else workers, busy)
                target = owner if kind is Kind.STORM else f"{owner}-{random.randrange(COPIES)}"
        at_s = round(max(at_s, free.get(owner, 0.0)), 1)
        planned.append(Planned(at_s, kind, target, duration_s, detail))
        lanes[lane] = at_s + duration_s + random.uniform(0.2, 1.5)
        free[owner] = at_s + duration_s + _REST_S
    return tuple(sorted((one for one in planned if one.at_s < begin_s + seconds), key=lambda one: one.at_s))


def _alone(random: Random, workers: Sequence[str]) -> Iterator[Planned]:
    kinds = [kind for kind, count in ALONE.items() for _ in range(count)]
    for turn, kind in enumerate(kinds):
        at_s, target = turn * ALONE_EVERY_S, f"{random.choice(workers)}-{PROXIED}"
        if kind is Kind.KILL:
            target = f"{random.choice(workers)}-{turn % COPIES}"
        detail = Mode.BLACK_HOLE if kind is Kind.NETWORK else ""
        yield Planned(
            at_s, kind, "broker" if kind is Kind.BROKER else target, ALONE_FOR_S, detail, alone=True
        )


def every_point(workers: Sequence[str]) -> list[tuple[str, str]]:
    """Return every crash point of every worker."""
    return [(worker, point.value) for point in CrashPoint for worker in workers]


def _points(seed: int, count: int, workers: Sequence[str]) -> list[tuple[str, str]]:
    """Return the crash points of a trial; trials with following seeds go on where the one before ended."""
    every = every_point(workers)
    Random("points").shuffle(every)  # noqa: S311  (the same order in every run)
    return list(islice(cycle(every), seed * count, (seed + 1) * count))


def _free(random: Random, workers: Sequence[str], busy: set[str]) -> str:
    return random.choice([worker for worker in workers if worker not in busy] or list(workers))


def shown(planned: Sequence[Planned]) -> Iterator[str]:
    """Yield a line for each fault."""
    for one in planned:
        detail = f" ({one.detail})" if one.detail else ""
        yield f"{one.at_s:6.1f} s  {one.kind:8} {one.target}{detail}, {one.duration_s:g} s"
