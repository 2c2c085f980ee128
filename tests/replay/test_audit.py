"""Audits of a running system: over the bus in memory, and with the command on a real Kafka."""

import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from convergence.audit import audit
from convergence.deployment import Deployment
from convergence.errors import UnknownRound
from convergence.patterns import Pattern
from convergence.replay.findings import Verdict
from convergence.topics import everything, partition_of
from flc import topics
from flc.broker import BrokerFailed, EmbeddedBroker
from flc.demo import demo_settings, play
from schemas.convergence import SynchronizationCompleted
from schemas.rounds import HandOver
from tests.convergence.federation import new_settings
from tests.convergence.test_with_workers import running
from workers.catalogue import WORKERS
from workers.runtime import topology
from workers.runtime.kafka import KafkaBus
from workers.runtime.port import Message, TopicPartition
from workers.runtime.supervisor import Process
from workers.settings import Settings

ROOT = Path(__file__).parent.parent.parent
NAMES = ("berlin", "lima", "oslo")


def patterns(place: int) -> list[Pattern]:
    """Return what an instance holds: patterns of its own strengths, most of them shared."""
    return [
        Pattern(f"p{n}", "usage", 0.8 + 0.01 * place, 0.7, 0.9 + 0.01 * place, 3, (f"m{n}",))
        for n in range(place, 5 + place)
    ]


async def test_what_clients_and_workers_did_is_equal_and_a_forged_event_is_not(tmp_path: Path) -> None:
    settings = new_settings(tmp_path, release_threshold=2, collection_deadline_ms=2_000)
    async with running(settings) as (bus, _), AsyncExitStack() as stack:
        members = [
            await stack.enter_async_context(Deployment(bus, settings, name, f"{name}-corp")) for name in NAMES
        ]
        for place, member in enumerate(members):
            await member.publish(patterns(place))
        done = await members[0].request_synchronization()
        assert isinstance(done, SynchronizationCompleted)
        findings = await audit(bus, settings)
        (finding,) = await audit(bus, settings, done.round_id)
        assert finding.verdict is Verdict.EQUAL
        assert all(each.difference is None for each in findings)
        assert any("synchronization/1" in each.subject for each in findings)
        with pytest.raises(UnknownRound):
            await audit(bus, settings, "default/update/999")

        # Given the same hand-over once more, as an intruder might write it
        partitions = range(bus.log.topics[HandOver.topic].partitions)
        (record, *_) = [
            record
            for number in partitions
            for record in bus.log.records(TopicPartition(HandOver.topic, number))
            if dict(record.headers)["ce_type"] == b"DetectionCompleted"
        ]
        bus.log.append(Message(record.topic, record.partition, record.key, record.value, record.headers))
        verdicts = {each.subject: each.verdict for each in await audit(bus, settings)}
        assert verdicts["rounds"] is Verdict.DIFFERENT


@pytest.fixture
async def played(tmp_path: Path) -> AsyncIterator[Settings]:
    """Give the settings of a demo that has ended, on a broker of its own: a replay reads everything there."""
    kafka = EmbeddedBroker()
    try:
        address = await kafka.start(tmp_path / "broker")
    except BrokerFailed as failure:
        if os.environ.get("CI") == "true":
            pytest.fail(str(failure))
        pytest.skip(str(failure))
    try:
        settings = demo_settings(address, tmp_path)
        bus = KafkaBus(settings)
        await topology.apply(bus, await topics.planned(bus, topics.declared()))
        async with Process(bus, tuple(WORKERS.values()), settings):
            await play(bus, settings, seed=1, rounds=2, interval_s=0)
        await bus.close()
        yield settings
    finally:
        kafka.stop()


def flc_replay(settings: Settings, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command with the settings of the demo's workers."""
    return subprocess.run(  # noqa: S603
        [sys.executable, "-c", "from flc.main import main; main()", "replay", *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env={
            **os.environ,
            "KAFKA_BOOTSTRAP_SERVERS": settings.bootstrap_servers or "",
            "FLC_FEDERATION": settings.federation,
            "FLC_ENROLMENT": settings.enrolment,
        },
        timeout=90,
    )


async def test_the_command_recomputes_a_demo_on_kafka(played: Settings) -> None:
    ended = flc_replay(played, "--all", "--format", "json")
    findings = [json.loads(line) for line in ended.stdout.splitlines()]
    assert ended.returncode == 0, ended.stdout + ended.stderr
    verdicts = {each["subject"]: each["verdict"] for each in findings}
    assert {verdicts[f"round demo/synchronization/{number}"] for number in (1, 2)} == {"equal"}
    assert verdicts["knowledge of demo"] == "equal"

    one = flc_replay(played, "--round", "synchronization/2")
    assert one.returncode == 0
    assert "equal" in one.stdout

    assert flc_replay(played).returncode == 2

    # When somebody writes a hand-over again
    bus = KafkaBus(played)
    at = await partition_of(bus, HandOver.topic, played.federation)
    record = [each async for each in everything(bus, [at])][-1]
    await (await bus.producer()).send([Message(*at, record.key, record.value, record.headers)])
    await bus.close()
    ended = flc_replay(played, "--all")
    assert ended.returncode == 1
    assert f"at {at.topic}/{at.partition}/" in ended.stderr
