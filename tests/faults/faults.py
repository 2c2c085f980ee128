"""The faults: each starts, lasts, and ends, and knows what must have happened if it was one.

A fault that had no effect proves nothing. It is reported as planned, but not as effective.
"""

import asyncio
import signal
import time
from abc import ABC, abstractmethod
from collections import Counter
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

from flc.broker import EmbeddedBroker
from schemas.reasons import Reason
from tests.faults.checks import Letters
from tests.faults.fleet import END_LIMIT_S, LOOK_S, Fleet, Victim, until
from tests.faults.journal import Journal
from tests.faults.load import Load
from tests.faults.observer import Observer
from tests.faults.proxy import Mode
from tests.faults.schedule import COPIES, Kind, Planned
from workers.runtime.crash import CrashPoint
from workers.runtime.kafka import KafkaBus
from workers.runtime.port import Unavailable

#: The session of every worker in a trial, in milliseconds.
SESSION_MS = 6_000

#: Seconds in which somebody must have taken over what a zombie had, and in which the new owner publishes.
TAKEN_OVER_S, PUBLISHED_S = 25.0, 1.0

#: Seconds that a slow worker takes for a record.
DRAG_S = SESSION_MS / 1000 + 1.5

#: Seconds from one joining or leaving to the next in a storm, and how many assignments it must cause.
STORM_EVERY_S, STORM_ASSIGNMENTS = 1.5, 5

#: Seconds in which what a fault did must show: a process starts, and its group waits for it.
SHOWS_S = 30.0

#: Seconds in which an order must come true, whatever the schedule gave it: without a broker nothing does.
COMES_TRUE_S = 180.0

#: The crash points around a transaction, which only a process reaches that has something to publish.
_PUBLISHING = frozenset({CrashPoint.BEFORE_PUBLISH, CrashPoint.AFTER_PUBLISH, CrashPoint.AFTER_COMMIT})

#: Records above so many bytes are refused by a topic that refuses.
REFUSED_ABOVE = "100"


@dataclass
class Scene:
    """What faults strike."""

    broker: EmbeddedBroker
    bus: KafkaBus
    fleet: Fleet
    load: Load
    observer: Observer
    topic_limits: dict[str, str]
    #: One fault of the broker at a time.
    broker_lock: asyncio.Lock = field(default_factory=asyncio.Lock)


@dataclass(frozen=True)
class Evidence:
    """What was seen of the faults when all was over."""

    journal: Journal
    letters: Letters


@dataclass
class Fault(ABC):
    """A fault of the schedule; times are Unix seconds, 0: not yet."""

    planned: Planned
    scene: Scene
    began_s: float = 0.0
    healed_s: float = 0.0
    #: What of its effect could be seen at once.
    seen: bool = field(default=False, init=False)

    async def run(self) -> None:
        """Strike, last, heal."""
        self.began_s = time.time()
        await self.strike()
        self.healed_s = time.time()

    @abstractmethod
    async def strike(self) -> None:
        """Do harm for a while, and undo it."""

    @abstractmethod
    def effective(self, evidence: Evidence) -> bool:
        """Tell whether what must have happened has."""

    @property
    def victim(self) -> Victim:
        """The process that it strikes."""
        return self.scene.fleet.victims[self.planned.target]

    @property
    def copies(self) -> list[Victim]:
        """All processes that run the worker for good."""
        return [self.scene.fleet.victims[f"{self.worker}-{copy}"] for copy in range(COPIES)]

    def claim(self, point: CrashPoint) -> str:
        """Return a name for an order of which only the first process takes note that gets to the point."""
        return f"{self.worker}-{point}-{time.time_ns()}"

    @property
    def worker(self) -> str:
        """The worker that the process runs."""
        return self.planned.target.rpartition("-")[0] or self.planned.target

    def reassigned(self, evidence: Evidence, among: str = "") -> int:
        """Count assignments in the worker's group since it began, of all or one process."""
        entries = evidence.journal.during(
            self.began_s, self.healed_s + SHOWS_S, "group.assigned", self.worker
        )
        return sum(among in {"", entry.victim} for entry in entries)


class Killed(Fault):
    """The process is killed, and started again a while later."""

    async def strike(self) -> None:
        async with self.victim.lock:
            self.seen = await self.victim.kill() == -signal.SIGKILL
            await asyncio.sleep(self.planned.duration_s)
            await self.victim.start()

    def effective(self, evidence: Evidence) -> bool:
        return self.seen and self.reassigned(evidence) > 0


class Crashed(Fault):
    """A process of a worker kills itself at a named point, and is started again.

    A restore is brought about by a restart, a revocation by a further process. Something to publish has
    whoever owns the partitions of the federations: all processes of the worker are told, and the first that
    gets there dies.
    """

    async def strike(self) -> None:
        point = CrashPoint(self.planned.detail)
        victims = self.copies if point in _PUBLISHING else [self.victim]
        async with AsyncExitStack() as stack:
            for victim in victims:
                await stack.enter_async_context(victim.lock)
            if point is CrashPoint.MID_RESTORE:
                await self.victim.kill()
                await self.victim.start(crash_at=f"{self.worker}:{point}")
            else:
                claim = self.claim(point)
                for victim in victims:
                    victim.order("kill", self.worker, point, claim)
            if point is CrashPoint.IN_REVOKE:
                await (await stack.enter_async_context(self.scene.fleet.another(self.worker))).start()
            if await until(lambda: not all(victim.runs for victim in victims), COMES_TRUE_S):
                dead = [victim for victim in victims if not victim.runs]
                self.seen = -signal.SIGKILL in [await victim.died(END_LIMIT_S) for victim in dead]
            else:  # the order stands still, and must not come true later
                for victim in victims:
                    await victim.kill()
            for victim in victims:
                if not victim.runs:
                    await victim.start()

    def effective(self, evidence: Evidence) -> bool:
        return self.seen and self.reassigned(evidence) > 0


class Zombie(Fault):
    """A process stops in front of a transaction, somebody else takes over, and then it goes on.

    All processes of the worker are told, and the first that gets there stops.
    """

    async def strike(self) -> None:
        async with AsyncExitStack() as stack:
            for victim in self.copies:
                await stack.enter_async_context(victim.lock)
            claim = self.claim(CrashPoint.BEFORE_PUBLISH)
            for victim in self.copies:
                victim.order("stop", self.worker, CrashPoint.BEFORE_PUBLISH, claim)
            self.seen = await until(lambda: any(victim.stopped for victim in self.copies), COMES_TRUE_S)
            self.victim.claims(claim)  # nobody stops any more
            self._stopped = [victim.name for victim in self.copies if victim.stopped]
            if self.seen:
                await self._taken_over()
            for victim in self.copies:
                victim.signal(signal.SIGCONT)

    async def _taken_over(self) -> None:
        """Wait until every partition of the worker has an owner that commits."""
        await asyncio.sleep(SESSION_MS / 1000)
        commits = self.scene.observer.commits
        before = {at: count for at, count in commits.items() if at[0] == self.worker}
        await until(lambda: all(commits[at] > count for at, count in before.items()), TAKEN_OVER_S)
        await asyncio.sleep(PUBLISHED_S)

    def effective(self, evidence: Evidence) -> bool:
        if not self.seen:
            return False
        late = evidence.journal.during(self.began_s, self.healed_s + SHOWS_S, "task.failed", self.worker)
        (stopped,) = self._stopped
        refused = any(entry.victim == stopped and entry.error == "Fenced" for entry in late)
        taken_over = self.reassigned(evidence) > self.reassigned(evidence, stopped)
        return refused and taken_over


class BrokerKilled(Fault):
    """The broker is killed, and started again on what it had written."""

    async def strike(self) -> None:
        async with self.scene.broker_lock:
            self.scene.broker.kill()
            await asyncio.sleep(self.planned.duration_s)
            await self.scene.broker.restart()

    def effective(self, evidence: Evidence) -> bool:
        errors = evidence.journal.during(self.began_s, self.healed_s + SHOWS_S, "task.failed")
        return any(True for _ in errors)


class Network(Fault):
    """The connections of the process suffer."""

    async def strike(self) -> None:
        proxy = self.victim.proxy
        assert proxy is not None
        async with self.victim.lock:
            await until(lambda: proxy.connected, SHOWS_S)  # it may only just have been started
            await proxy.set(Mode(self.planned.detail))
            await asyncio.sleep(self.planned.duration_s)
            self.seen = proxy.touched > 0
            await proxy.set(Mode.PASS)

    def effective(self, evidence: Evidence) -> bool:  # noqa: ARG002
        return self.seen


class Slow(Fault):
    """The process takes longer for a record than its session lasts."""

    async def strike(self) -> None:
        async with self.victim.lock:
            self.victim.order("drag", self.worker, str(DRAG_S))
            await asyncio.sleep(self.planned.duration_s)
            self.victim.order("drag", self.worker, "0")

    def effective(self, evidence: Evidence) -> bool:
        return self.reassigned(evidence) > self.reassigned(evidence, self.victim.name)


class Storm(Fault):
    """A third process comes and goes, until it has made a storm."""

    async def strike(self) -> None:
        loop = asyncio.get_running_loop()
        ending = loop.time() + self.planned.duration_s
        while loop.time() < ending or (not self._storms() and loop.time() < ending + COMES_TRUE_S):
            async with self.scene.fleet.another(self.worker) as third:
                await third.start()
                await until(lambda third=third: self._has_joined(third), SHOWS_S)  # type: ignore[misc]
                await asyncio.sleep(STORM_EVERY_S)
            await asyncio.sleep(STORM_EVERY_S)
        self.seen = self._storms()

    def _has_joined(self, third: Victim) -> bool:
        return b"group.assigned" in third.log.read_bytes()

    def _storms(self) -> bool:
        """Tell whether a member has been assigned partitions often enough."""
        members = {victim.name: victim.log for victim in self.scene.fleet.of(self.worker)}
        assigned = Journal.read(members).during(self.began_s, time.time(), "group.assigned", self.worker)
        counts = Counter(entry.victim for entry in assigned)
        return any(count >= STORM_ASSIGNMENTS for count in counts.values())

    def effective(self, evidence: Evidence) -> bool:  # noqa: ARG002
        return self.seen


class KeyChanged(Fault):
    """An instance changes its key; later the first one is revoked, and somebody uses it."""

    async def strike(self) -> None:
        federation, _, name = self.planned.target.partition("/")
        self._place = await self.scene.load.change_key(federation, name, self.planned.duration_s)

    def effective(self, evidence: Evidence) -> bool:
        return Reason.REVOKED_KEY in evidence.letters.of(self._place)


class Refused(Fault):
    """The broker refuses what is written to a topic."""

    async def strike(self) -> None:
        await self._limit(REFUSED_ABOVE)
        await asyncio.sleep(self.planned.duration_s)
        await self._limit(self.scene.topic_limits[self.planned.target])

    async def _limit(self, limit: str) -> None:
        """Set the topic's limit, as soon as there is a broker to tell."""
        while True:
            try:
                await self.scene.bus.configure(self.planned.target, {"max.message.bytes": limit})
            except Unavailable:
                await asyncio.sleep(LOOK_S)
            else:
                return

    def effective(self, evidence: Evidence) -> bool:
        failed = evidence.journal.during(self.began_s, self.healed_s + SHOWS_S, "task.failed")
        return any("MessageSizeTooLarge" in str(entry.fields.get("exception")) for entry in failed)


FAULTS: dict[Kind, type[Fault]] = {
    Kind.KILL: Killed,
    Kind.CRASH: Crashed,
    Kind.ZOMBIE: Zombie,
    Kind.BROKER: BrokerKilled,
    Kind.NETWORK: Network,
    Kind.SLOW: Slow,
    Kind.STORM: Storm,
    Kind.KEYS: KeyChanged,
    Kind.REFUSAL: Refused,
}
