"""One schedule: a small federation, machines that fail, and at the end the replay of what is on the log."""

import asyncio
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from random import Random

from convergence.replay.findings import Finding, Verdict
from convergence.replay.log import Log as ReplayedLog
from convergence.replay.log import gathered
from convergence.replay.replay import replay
from schemas.catalogue import EVENTS
from schemas.topics import Topics, load
from tests.deployments import settings
from tests.replay.outside import Outside
from tests.replay.world import RULES, SETTLED_MS
from tests.simulation.loop import VirtualClock, VirtualLoop
from tests.simulation.machine import SESSION_S, Machine, Odds
from tests.simulation.restores import Restores
from workers.catalogue import WORKERS
from workers.fold import Record
from workers.runtime.crash import Crash
from workers.runtime.memory import Log
from workers.runtime.port import Message, TopicDescription, TopicPartition
from workers.runtime.position import POSITION_KEY, Position
from workers.runtime.supervisor import Process

#: Virtual seconds after which a healed system has come to its end: time-outs, deadlines, and then nothing. An
#: update waits four times as long as the one before took, which may have been held up by a pause of 3 s.
DRAIN_S = 30.0


@dataclass
class Outcome:
    """What came of a schedule."""

    seed: int
    findings: list[Finding]
    #: Records that were not read to the end: worker, partition of an input.
    behind: list[str]
    #: Restores that gave another state than the one that was committed.
    restored_wrong: list[str]
    #: What happened: kind of trouble -> how often.
    counts: Counter[str] = field(default_factory=Counter)

    @property
    def wrong(self) -> list[str]:
        """Say what is not as it must be."""
        said = [f"{each.subject}: {each.difference or each.note}" for each in self.findings
                if each.verdict is not Verdict.EQUAL or each.note]  # fmt: skip
        return said + self.behind + self.restored_wrong


@cache
def _topics(partitions: int) -> Topics:
    return load().with_partitions(partitions)


class Schedule:
    """Everything that happens follows from the seed."""

    def __init__(self, seed: int, loop: VirtualLoop) -> None:
        self.seed = seed
        self._random = Random(seed)  # noqa: S311
        self._clock = VirtualClock(loop)
        self._log = Log(self._clock.now_ms)
        self._topics = _topics(self._random.choice((1, 1, 2)))
        # Most run one worker only, with the most to lose: a schedule of all nine takes ten times as long.
        self._workers = self._random.choice((*(("privacy",),) * 3, tuple(WORKERS)))
        self._changelogs = {
            name: self._topics.changelog(name, WORKERS[name].inputs).name for name in self._workers
        }
        changelogs = [self._topics.changelog(name, WORKERS[name].inputs) for name in self._workers]
        for topic in (*self._topics.declared.values(), *changelogs):
            self._log.create(TopicDescription(topic.name, topic.partitions, topic.replication, topic.configs))
        partitions = {name: topic.partitions for name, topic in self._topics.declared.items()}
        self._outside = Outside.of(self._random, {"default": 3}, partitions, self._clock.now_ms, patterns=4)
        self._settings = settings(
            session_timeout_ms=int(SESSION_S * 1000),
            release_threshold=2,
            collection_deadline_ms=300,
            acknowledgement_deadline_ms=200,
            update_interval_ms=50,
        )
        self._odds = Odds(**self._random.choice(_ODDS))
        self._machines: list[tuple[Machine, asyncio.Task[None]]] = []
        self._restores = Restores()
        self.counts: Counter[str] = Counter()

    async def run(self) -> Outcome:
        """Let it happen, heal, drain, and replay."""
        with self._restores.watched():
            await self._happen()
        behind = list(self._behind())
        for _, run in self._machines:
            run.cancel()
        await asyncio.gather(*(run for _, run in self._machines), return_exceptions=True)
        self.counts["restored"] += self._restores.compared
        findings = list(replay(self._read(), RULES))
        return Outcome(self.seed, findings, behind, self._restores.wrong, self.counts)

    async def _happen(self) -> None:
        self._start()
        if self._random.random() < 0.5:
            self._start()
        for instance in self._outside.instances:
            self._send(self._outside.enrol(instance))
        for _ in range(self._random.randint(4, 14)):
            await asyncio.sleep(self._random.choice((0.0, 0.005, 0.05, 0.4)))
            self._send(self._outside.record())
            if self._random.random() < 0.1:
                self._start()  # one more machine joins
        await asyncio.sleep(self._random.choice((0.05, 1.0)))
        self._heal()
        await asyncio.sleep(DRAIN_S)

    def _start(self) -> None:
        machine = Machine(self._log, Random(self._random.random()), self._odds, self.counts)  # noqa: S311
        run = asyncio.get_running_loop().create_task(self._work(machine))
        self._machines.append((machine, run))

    async def _work(self, machine: Machine) -> None:
        process = Process(
            machine.bus,
            tuple(WORKERS[name] for name in self._workers),
            self._settings,
            topics=self._topics,
            clock=self._clock,
            crash=Crash(),
        )
        async with process:
            await asyncio.Event().wait()

    def _heal(self) -> None:
        """Let nothing fail any more, and have a machine that works."""
        self._odds.killed = self._odds.paused = self._odds.lost = 0.0
        if all(machine.dead for machine, _ in self._machines):
            self._start()

    def _send(self, record: Record) -> None:
        if not any(record.topic in WORKERS[name].inputs for name in self._workers):
            return  # nobody would answer
        self._log.append(Message(record.topic, record.partition, record.key, record.value, record.headers))

    # -- what is there at the end

    def _read(self) -> ReplayedLog:
        partitions = self._log.partitions_of({event.topic for event in EVENTS.values()})
        records = [record for at in partitions for record in self._log.records(at)]
        return ReplayedLog(gathered(records), {(at.topic, at.partition): 0 for at in partitions}, SETTLED_MS)

    def _behind(self) -> Iterator[str]:
        """Yield where a task has not read what is there, or what it wrote is not decided."""
        for name, changelog in self._changelogs.items():
            for at in self._log.partitions_of([changelog]):
                positions = [each for each in self._log.records(at) if each.key == POSITION_KEY]
                following = Position.decode(positions[-1].value or b"").next if positions else {}
                for topic in WORKERS[name].inputs:
                    source = TopicPartition(topic, at.partition)
                    if any(each.offset >= following.get(topic, 0) for each in self._log.records(source)):
                        yield f"{name} has not read all of {topic}/{at.partition}"
                if self._log.partition(at).stable != self._log.partition(at).end:
                    yield f"a transaction hangs in {changelog}/{at.partition}"


#: Kinds of trouble, for each effect of a machine.
_ODDS: list[dict[str, float]] = [
    {"killed": 0.004},
    {"paused": 0.004},
    {"lost": 0.1},
    {"killed": 0.002, "paused": 0.002, "lost": 0.05},
    {},
]


def _abandon(loop: VirtualLoop) -> None:
    """End whatever still waits: dead machines wait for ever."""
    while left := asyncio.all_tasks(loop):
        for task in left:
            task.cancel()
        loop.run_until_complete(asyncio.wait(left, timeout=DRAIN_S))
    loop.close()


def simulate(seed: int) -> Outcome:
    """Run one schedule from its beginning to its replay."""
    before = random.getstate()
    random.seed(seed)  # the runtime's jitter
    loop = VirtualLoop()
    try:
        return loop.run_until_complete(Schedule(seed, loop).run())
    finally:
        random.setstate(before)
        _abandon(loop)
