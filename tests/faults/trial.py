"""One trial: a broker, workers, load and faults; then all heals, the workers drain, and it is judged."""

import asyncio
import time
from collections.abc import AsyncIterator, Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson

from convergence.audit import read_log, rules_of
from convergence.replay.replay import Replay
from flc.broker import EmbeddedBroker
from schemas.signing import public_key
from schemas.topics import load
from tests.deployments import OPERATOR
from tests.faults import checks, outcome, states
from tests.faults.checks import Accounts, Check, Replayed
from tests.faults.faults import FAULTS, SESSION_MS, Evidence, Fault, Scene
from tests.faults.fleet import Fleet, until
from tests.faults.load import FEDERATIONS, Load
from tests.faults.observer import Observer, digest
from tests.faults.outcome import Outcome
from tests.faults.plan import Plan
from workers.catalogue import WORKERS
from workers.runtime import topology
from workers.runtime.kafka import KafkaBus
from workers.runtime.port import TopicPartition
from workers.settings import Settings

#: Seconds that the workers get to start.
START_LIMIT_S = 120.0

#: The drain is over when everything was read and nothing came for so many seconds: deadlines are shorter.
QUIET_S = 6.0

#: Seconds in which the members of a group commit their offsets, for the display of lag.
OFFSETS_LIMIT_S = 20.0

#: What was appended up to here has been answered (Unix ms).
ALL_SETTLED_MS = 1 << 60

#: All that differs from the defaults, and is the same for the workers and for the replay.
ENVIRONMENT = {
    "FLC_SESSION_TIMEOUT_MS": str(SESSION_MS),
    "FLC_COLLECTION_DEADLINE_MS": "3000",
    "FLC_ACKNOWLEDGEMENT_DEADLINE_MS": "1500",
    "FLC_HTTP_PORT": "0",
    "FLC_RELEASE_THRESHOLD": "5",
}


async def run(plan: Plan, directory: Path) -> Outcome:
    """Run a trial in an empty directory."""
    started_s = time.time()
    broker = EmbeddedBroker()
    address = await broker.start(directory / "broker")
    keys = {federation: public_key(OPERATOR) for federation in FEDERATIONS}
    settings = Settings(
        _env_file=None,
        bootstrap_servers=address,
        operator_keys=keys,
        session_timeout_ms=SESSION_MS,
        release_threshold=5,
    )
    bus = KafkaBus(settings)
    try:
        return await _Trial(plan, directory, broker, bus, settings).run(started_s)
    finally:
        await bus.close()
        broker.stop()


class _Trial:
    def __init__(
        self,
        plan: Plan,
        directory: Path,
        broker: EmbeddedBroker,
        bus: KafkaBus,
        settings: Settings,
    ) -> None:
        self._plan = plan
        self._bus = bus
        self._settings = settings
        self._topics = load()
        self._inputs = {name: worker.inputs for name, worker in WORKERS.items()}
        self._changelogs = {
            self._topics.changelog(name, inputs).name: name for name, inputs in self._inputs.items()
        }
        self._partitions = {name: topic.partitions for name, topic in self._topics.declared.items()}
        self._everything = [
            TopicPartition(name, number)
            for name, count in (
                *self._partitions.items(),
                *((log, self._partitions[self._inputs[of][0]]) for log, of in self._changelogs.items()),
            )
            for number in range(count)
        ]
        self._load = Load(bus, plan.seed, plan.rate, self._partitions)
        self._observer = Observer(bus, self._everything, self._changelogs, self._load.acknowledge)
        assert broker.address is not None
        self._fleet = Fleet(
            plan.layout,
            directory,
            {
                **ENVIRONMENT,
                "KAFKA_BOOTSTRAP_SERVERS": broker.address,
                "FLC_OPERATOR_KEYS": orjson.dumps(dict(settings.operator_keys)).decode(),
            },
            broker=int(broker.address.rpartition(":")[2]),
            sabotage=plan.sabotage,
        )
        limits = {topic.name: topic.configs["max.message.bytes"] for topic in self._topics.declared.values()}
        scene = Scene(broker, bus, self._fleet, self._load, self._observer, limits)
        self._faults: list[Fault] = [FAULTS[one.kind](one, scene) for one in plan.faults]

    async def run(self, started_s: float) -> Outcome:
        await self._declare()
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self._fleet.running())
            await stack.enter_async_context(_alongside(self._observer.run()))
            await self._load.register()
            await self._joined()
            ending = asyncio.Event()
            sending = await stack.enter_async_context(_alongside(self._load.run(ending)))
            began_s = time.time()
            await asyncio.sleep(self._plan.clean_s)
            struck_s = time.time()
            await asyncio.gather(
                asyncio.sleep(self._plan.seconds), *(self._strike(fault) for fault in self._faults)
            )
            healed_s = time.time()
            ending.set()
            await sending
            drained = await self._drain()
            position = await self._at_the_end(drained)
            accounts = await self._accounts()
            codes = await self._fleet.end()
            for name, code in codes.items():
                position.equal(f"the end of {name}", code, 0)
        replayed, found = await self._judge(position, accounts)
        evidence = Evidence(self._fleet.journal(), replayed.letters)
        return Outcome(
            plan=self._plan,
            checks=found,
            struck=list(outcome.struck(self._faults, evidence, replayed)),
            results=checks.results(replayed.findings),
            admissions=outcome.admissions(replayed),
            rounds=outcome.rounds(replayed),
            bad=self._load.bad,
            sent=sum(self._load.sent.values()),
            resent=self._load.resent,
            clean_rate=outcome.rate(replayed, began_s, struck_s),
            faulted_rate=outcome.rate(replayed, struck_s, healed_s),
            rebalances=evidence.journal.count("group.assigned"),
            fenced=evidence.journal.count("task.failed", "Fenced"),
            failed_tasks=evidence.journal.count("task.failed"),
            peak_bytes={name: victim.peak_bytes for name, victim in self._fleet.victims.items()},
            took_s=time.time() - started_s,
        )

    async def _declare(self) -> None:
        changelogs = [self._topics.changelog(name, inputs) for name, inputs in self._inputs.items()]
        declared = [*self._topics.declared.values(), *changelogs]
        live = await self._bus.describe([topic.name for topic in declared])
        await topology.apply(self._bus, topology.plan(declared, live))

    async def _joined(self) -> None:
        """Wait until every process has partitions, and every task has proved it owns its own."""

        def ready() -> bool:
            tasks = len(self._inputs) * self._partitions[self._inputs["privacy"][0]]
            assigned = {entry.victim for entry in self._fleet.journal().during(0, 1 << 40, "group.assigned")}
            return assigned == set(self._fleet.victims) and len(self._observer.positions) == tasks

        if not await until(ready, START_LIMIT_S):
            raise TimeoutError("the workers did not start")

    async def _strike(self, fault: Fault) -> None:
        await asyncio.sleep(fault.planned.at_s)
        await fault.run()

    async def _drain(self) -> list[str]:
        """Wait until every task has read everything and nothing more comes; return who has not."""

        def drained() -> bool:
            quiet = time.monotonic() - self._observer.moved_s > QUIET_S
            return quiet and not self._observer.behind(self._inputs, self._partitions)

        await until(drained, self._plan.drain_limit_s)
        return self._observer.behind(self._inputs, self._partitions)

    async def _at_the_end(self, behind: Sequence[str]) -> Check:
        """7: every position is behind the last record, the groups say so, and no transaction is open."""
        check = Check(7, compared=len(self._inputs) * len(self._partitions))
        check.problems += [f"not read: {late}" for late in behind]
        late: list[str] = []
        for _ in range(int(OFFSETS_LIMIT_S)):
            late = await self._not_committed()
            if not late or behind:
                break
            await asyncio.sleep(1.0)
        check.problems += late
        stable = await self._bus.end_offsets(self._everything)
        ends = await self._bus.end_offsets(self._everything, committed=False)
        for at in self._everything:
            check.equal(f"the last stable offset of {at.topic}/{at.partition}", stable[at], ends[at])
        return check

    async def _not_committed(self) -> list[str]:
        late = []
        for worker, topics in self._inputs.items():
            commits = (await self._bus.group(worker)).commits
            for topic in topics:
                for number in range(self._partitions[topic]):
                    at = TopicPartition(topic, number)
                    committed = commits[at].offset if at in commits else 0
                    if committed <= self._observer.last(at):
                        late.append(f"committed by {worker}: {topic}/{number} at {committed}")
        return late

    async def _accounts(self) -> dict[str, Accounts | None]:
        return {
            victim.name: await victim.accounts() for victim in self._fleet.victims.values() if victim.runs
        }

    async def _judge(
        self, position: Check, accounts: Mapping[str, Accounts | None]
    ) -> tuple[Replayed, list[Check]]:
        log = replace(await read_log(self._bus), settled_ms=ALL_SETTLED_MS)
        replay = Replay(log, rules_of(self._settings))
        replayed = await asyncio.to_thread(lambda: Replayed(log, replay, list(replay.findings())))
        final = {
            TopicPartition(*at): {record.offset: digest(record) for record in records}  # type: ignore[arg-type]
            for at, records in log.records.items()
        }
        state = await states.restored(self._bus, self._topics, self._settings, replayed)
        return replayed, [
            checks.complete(replayed, self._load.places),
            checks.equal(replayed),
            checks.lettered(replayed, self._load.expected, self._load.revoked),
            checks.conserved(replayed, accounts),
            checks.released(replayed),
            checks.read_during(self._observer.seen, final),
            position,
            state,
        ]


@asynccontextmanager
async def _alongside(work: Coroutine[Any, Any, None]) -> AsyncIterator["asyncio.Task[None]"]:
    """Do something while the block runs; what it raises is raised at the end of the block."""
    task = asyncio.create_task(work)
    try:
        yield task
    finally:
        if not task.done():
            task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        if not task.cancelled() and (error := task.exception()) is not None:
            raise error
