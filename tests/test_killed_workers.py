"""Every worker is killed in the middle of a round: the round has one result, and it is the right one."""

import asyncio
import os
import signal
import sys
from asyncio.subprocess import Process as Child
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from convergence.audit import audit
from convergence.deployment import Deployment
from convergence.keys import Keys
from convergence.patterns import Pattern
from convergence.replay.findings import Verdict
from schemas.convergence import SynchronizationCompleted
from schemas.topics import load
from workers.catalogue import WORKERS
from workers.runtime import topology
from workers.runtime.kafka import KafkaBus
from workers.runtime.supervisor import Process
from workers.settings import Settings

NAMES = ("berlin", "lima", "oslo", "paris", "rome")
LIMIT_S = 60.0


def patterns(place: int) -> list[Pattern]:
    """Return what an instance holds: ten patterns of its own strengths, most of them shared."""
    return [
        Pattern(f"p{n}", "usage", 0.8 + 0.01 * place, 0.7 + 0.02 * n, 0.9 + 0.01 * place, 3, (f"m{n}",))
        for n in range(place % 3, 10 + place % 3)
    ]


class Victim:
    """A worker in a process of its own."""

    def __init__(self, worker: str, settings: Settings) -> None:
        self._worker = worker
        self._environment = {
            **os.environ,
            "KAFKA_BOOTSTRAP_SERVERS": settings.bootstrap_servers or "",
            "FLC_ENROLMENT": "open",
            "FLC_HTTP_PORT": "0",
            "FLC_RELEASE_THRESHOLD": str(settings.release_threshold),
            "FLC_SESSION_TIMEOUT_MS": str(settings.session_timeout_ms),
            "FLC_COLLECTION_DEADLINE_MS": str(settings.collection_deadline_ms),
            "FLC_ACKNOWLEDGEMENT_DEADLINE_MS": str(settings.acknowledgement_deadline_ms),
            "FLC_GROUP_INSTANCE_ID": f"victim-{worker}",
        }
        self._process: Child | None = None

    async def start(self, crash_at: str = "") -> None:
        """Start it and let the group settle."""
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", "from flc.main import main; main()", "worker", "run", self._worker),
            env={**self._environment, "FLC_CRASH_AT": crash_at},
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )

    async def stop(self) -> None:
        """Let it drain."""
        if self._process is not None and self._process.returncode is None:
            self._process.terminate()
            await self._process.wait()

    async def died(self) -> int:
        """Wait until it has ended and return how."""
        assert self._process is not None
        return await self._process.wait()


@pytest.fixture
async def bus(broker: str) -> AsyncIterator[KafkaBus]:
    connection = KafkaBus(Settings(bootstrap_servers=broker, session_timeout_ms=6_000))
    topics = load()
    changelogs = [topics.changelog(worker.name, worker.inputs) for worker in WORKERS.values()]
    declared = [*topics.declared.values(), *changelogs]
    live = await connection.describe([topic.name for topic in declared])
    await topology.apply(connection, topology.plan(declared, live))
    yield connection
    await connection.close()


@pytest.mark.parametrize("name", WORKERS)
async def test_a_round_survives_a_worker_killed_between_publish_and_commit(
    bus: KafkaBus, broker: str, tmp_path: Path, name: str
) -> None:
    settings = Settings(
        bootstrap_servers=broker,
        federation=f"killed-{name}",
        enrolment="open",
        keys_directory=tmp_path,
        release_threshold=3,
        session_timeout_ms=6_000,
        collection_deadline_ms=20_000,
        acknowledgement_deadline_ms=20_000,
    )
    Keys(tmp_path).new_federation(settings.federation)
    siblings = [worker for each, worker in WORKERS.items() if each != name]
    victim = Victim(name, settings)
    async with AsyncExitStack() as stack:
        # Given a federation that has learned something, one of whose workers runs apart
        await stack.enter_async_context(Process(bus, siblings, settings))
        stack.push_async_callback(victim.stop)
        await victim.start()
        members = [
            await stack.enter_async_context(Deployment(bus, settings, each, f"{each}-corp")) for each in NAMES
        ]
        async with asyncio.timeout(LIMIT_S):
            reported = [patterns(place) for place in range(len(NAMES))]
            for member, held in zip(members, reported, strict=True):
                assert (await member.publish(held, LIMIT_S)).included
            # When that worker dies in the next round, its outputs written and not committed
            await victim.stop()
            await victim.start(crash_at=f"{name}:after_publish")
            asking = asyncio.create_task(members[0].request_synchronization(timeout_s=LIMIT_S))
            assert await victim.died() == -signal.SIGKILL
            await victim.start()
            # Then the round completes, once, as the replay computes it
            completed = await asking
    assert isinstance(completed, SynchronizationCompleted)
    assert completed.instances_synced == len(NAMES)
    (finding,) = await audit(bus, settings, completed.round_id)
    assert finding.verdict is Verdict.EQUAL, finding
