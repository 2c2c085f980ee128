"""Toy workers, topics and a clock that can be moved."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import ClassVar

import orjson

from schemas.commands import SynchronizationRequested
from schemas.topics import Topics, parse
from tests.runtime.buses import FaultyBus
from workers.fold import Emit, Outcome, Record, State, Step, Table, Worker
from workers.runtime.clock import Timer
from workers.runtime.memory import Log, MemoryBus
from workers.runtime.port import Message, TopicDescription, TopicPartition
from workers.runtime.supervisor import Process
from workers.settings import Settings

NUMBERS, RULES, SUMS = "flc.numbers.v1", "flc.rules.v1", "flc.sums.v1"

#: What every wait of a test may take, in seconds.
LIMIT_S = 10.0


def topics(partitions: int = 2, names: Sequence[str] = (NUMBERS, RULES, SUMS)) -> Topics:
    """Return the declaration of the toys' topics."""
    one = {
        "description": "A toy.",
        "key": "federation",
        "group": "federation",
        "classification": "raw",
        "events": ["SynchronizationRequested"],
        "producers": ["client"],
        "consumers": ["adder"],
    }
    configs = {"message.timestamp.type": "LogAppendTime"}
    document = {
        "defaults": {"partitions": partitions, "replication": 1, "configs": configs},
        "topics": [{"name": name, **one} for name in names],
        "changelogs": {
            "name": "flc.changelog.{worker}.v1",
            "description": "State.",
            "configs": {"cleanup.policy": "compact"},
            "classification": "filtered",
        },
    }
    return parse(orjson.dumps(document).decode())


class MovableClock:
    """Time that passes as always, and can be moved ahead; also stamps the log."""

    def __init__(self) -> None:
        self._ahead = 0.0
        self._timers: list[_Timer] = []

    def monotonic(self) -> float:
        return time.monotonic() + self._ahead

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000 + int(self._ahead * 1000)

    def call_later(self, seconds: float, callback: Callable[[], object]) -> Timer:
        timer = _Timer(self, self.monotonic() + seconds, callback)
        self._timers.append(timer)
        timer.arm()
        return timer

    def advance(self, seconds: float) -> None:
        self._ahead += seconds
        for timer in list(self._timers):
            timer.arm()

    def forget(self, timer: "_Timer") -> None:
        if timer in self._timers:
            self._timers.remove(timer)


class _Timer:
    def __init__(self, clock: MovableClock, at: float, callback: Callable[[], object]) -> None:
        self._clock = clock
        self._at = at
        self._callback = callback
        self._handle: asyncio.TimerHandle | None = None

    def arm(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
        left = max(0.0, self._at - self._clock.monotonic())
        self._handle = asyncio.get_running_loop().call_later(left, self._fire)

    def _fire(self) -> None:
        self._clock.forget(self)
        self._callback()

    def cancel(self) -> None:
        self._clock.forget(self)
        if self._handle is not None:
            self._handle.cancel()


class Sum(SynchronizationRequested):
    """What the toys publish: ``sequence`` is the sum so far."""


class AdderState(State):
    """The sum so far, and when it is to be told."""

    def __init__(self) -> None:
        self.sums: Table[int] = Table("sums", int)
        self.due: Table[int] = Table("due", int)
        super().__init__(self.sums, self.due)


class Adder(Worker[AdderState]):
    """Emits the sum after each number; "tick N" makes it emit the sum at append time + N ms."""

    name = "adder"
    inputs: ClassVar[tuple[str, ...]] = (NUMBERS,)
    outputs: ClassVar[tuple[str, ...]] = (SUMS,)

    def state(self) -> AdderState:
        return AdderState()

    def step(self, state: AdderState, records: Sequence[Record]) -> Step:
        step = Step()
        for record in records:
            text = (record.value or b"").decode()
            if text == "explode":
                raise ValueError(text)
            if text.startswith("tick "):
                state.due.put("toy", "", record.append_ms + int(text[5:]))
            else:
                total = (state.sums.get("toy") or 0) + int(text)
                state.sums.put("toy", "", total)
                step.emits.append(self.emit(total, f"sum/{record.offset}", record.append_ms))
            step.handled[record.topic, Outcome.ACCEPTED] += 1
        return step

    def emit(self, total: int, event_id: str, time_ms: int) -> Emit:
        event = Sum(federation="toy", request_id="r", requested_by=None, sequence=total)
        return Emit(self.outputs[0], self.context.partition, "toy", event, event_id, time_ms)

    def deadline(self, state: AdderState) -> int | None:
        return state.due.get("toy")

    def tick(self, state: AdderState, now_ms: int) -> Step:
        due = state.due.get("toy")
        state.due.delete("toy")
        return Step(emits=[self.emit(state.sums.get("toy") or 0, f"tick/{due}", now_ms)])


class Lazy(Adder):
    """The same, flushed lazily."""

    name = "lazy"
    flushed_lazily = True


class Tolerant(Adder):
    """The same, and refuses a record without a value."""

    name = "tolerant"

    def step(self, state: AdderState, records: Sequence[Record]) -> Step:
        step = super().step(state, [record for record in records if record.value is not None])
        for record in records:
            if record.value is None:
                step.handled[record.topic, Outcome.DEAD_LETTERED] += 1
        return step


class Ruled(Adder):
    """Emits 1 for a number for which the rule is known already, 0 otherwise."""

    name = "ruled"
    inputs = (NUMBERS, RULES)
    first = (RULES,)

    def step(self, state: AdderState, records: Sequence[Record]) -> Step:
        step = Step()
        for record in records:
            text = (record.value or b"").decode()
            if record.topic == RULES:
                state.sums.put("toy", text, 1)
            else:
                known = state.sums.get("toy", text) or 0
                step.emits.append(self.emit(known, f"known/{record.offset}", record.append_ms))
            step.handled[record.topic, Outcome.ACCEPTED] += 1
        return step


class World:
    """A log with the toys' topics, a clock, and processes on it."""

    def __init__(self, partitions: int = 2, workers: Sequence[type[Adder]] = (Adder,)) -> None:
        self.clock = MovableClock()
        self.log = Log(self.clock.now_ms)
        self.bus = FaultyBus(self.log)
        self.workers = workers
        self.topics = topics(partitions)
        # A heartbeat is a third of it: a failed task is rebuilt after two, 200 ms.
        self.settings = Settings(session_timeout_ms=300)
        for kind in workers:
            for topic in self.topics.of_worker(kind.name, kind.inputs, kind.outputs):
                self.log.create(
                    TopicDescription(topic.name, topic.partitions, topic.replication, topic.configs)
                )

    def process(self, bus: MemoryBus | None = None) -> Process:
        return Process(bus or self.bus, self.workers, self.settings, topics=self.topics, clock=self.clock)

    @asynccontextmanager
    async def running(self, bus: MemoryBus | None = None) -> AsyncIterator[Process]:
        """Run a process that has taken over all it is assigned."""
        async with self.process(bus) as process:
            await until(lambda: process.ready)
            yield process

    def say(self, *texts: object, topic: str = NUMBERS, partition: int = 0) -> None:
        for text in texts:
            self.log.append(Message(topic, partition, b"toy", str(text).encode()))

    def told(self, partition: int = 0) -> list[int]:
        """Return the sums that a read_committed reader sees."""
        records = self.log.records(TopicPartition(SUMS, partition))
        return [orjson.loads(record.value or b"")["sequence"] for record in records]

    def changelog(self, worker: str = "adder", partition: int = 0) -> list[Record]:
        return self.log.records(TopicPartition(f"flc.changelog.{worker}.v1", partition))


def failures(process: Process, error: str) -> float:
    """Return how many tasks of the adder failed with this type of error."""
    labels = {"worker": Adder.name, "error": error}
    return process.metrics.registry.get_sample_value("flc_task_failures_total", labels) or 0.0


async def until(condition: Callable[[], bool]) -> None:
    """Wait for a condition; fails when it does not come true."""
    async with asyncio.timeout(LIMIT_S):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.002)


async def told(world: World, count: int, partition: int = 0) -> None:
    """Wait until at least so many sums were told."""
    await until(lambda: len(world.told(partition)) >= count)
