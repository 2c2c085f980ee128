"""One instance on the bus."""

import asyncio
import logging
from functools import partial
from pathlib import Path

import pytest

from convergence.deployment import Deployment
from convergence.errors import NotCovered, NotEnrolled, TooManyPatterns
from convergence.events import read
from convergence.keys import Keys
from convergence.operator import Operator
from convergence.patterns import Pattern
from schemas import signing
from schemas.commands import SynchronizationRequested
from schemas.convergence import (
    KnowledgeAnnounced,
    RoundAbandoned,
    SynchronizationAnnounced,
    SynchronizationCompleted,
)
from schemas.instances import Heartbeat, InstanceRegistered
from schemas.knowledge import KnowledgeAcknowledged
from schemas.partitioning import key_partition
from schemas.reasons import AbandonReason
from schemas.reports import PatternReport
from schemas.rounds import Phase, RoundKind
from tests.convergence.federation import (
    PARTITIONS,
    announcement,
    cover,
    mark,
    new_bus,
    new_settings,
    operated,
    pattern_id,
    records,
    release,
    result,
    write,
)
from workers.runtime.memory import MemoryBus

PATTERNS = (Pattern("p", "behavioral", 0.9, modules=("checkout",)), Pattern("q", "temporal", 0.8))


async def _report(bus: MemoryBus, number: int = 1) -> PatternReport:
    """Return the number-th report on the bus, as soon as it is there."""
    reports = [read(record, PatternReport) for record in await records(bus, PatternReport.topic, number)]
    report = reports[number - 1]
    assert report is not None
    return report


async def test_opened_it_registers_itself_and_lives(tmp_path: Path) -> None:
    bus, settings = await new_bus(), new_settings(tmp_path)
    async with Deployment(bus, settings, "berlin", "acme", metadata={"tier": "gold"}):
        (beat,) = await records(bus, Heartbeat.topic, 1)
    (record,) = await records(bus, InstanceRegistered.topic)
    registered = read(record, InstanceRegistered)
    assert registered is not None
    assert (registered.organisation, registered.enrolment, registered.metadata) == (
        "acme",
        1,
        {"tier": "gold"},
    )
    assert beat.key == b"default/berlin"
    assert beat.partition == key_partition("default/berlin", PARTITIONS)
    headers = dict(beat.headers)
    key = registered.public_keys[0].key
    assert headers["flc_key"].decode() == key
    assert signing.verify(key, headers["flc_signature"], "Heartbeat", beat.topic, beat.value or b"")


async def test_opened_again_it_registers_only_what_changed(tmp_path: Path) -> None:
    bus, settings = await new_bus(), new_settings(tmp_path)
    for region in ("eu", "eu", "us"):
        async with Deployment(bus, settings, "berlin", "acme", deployment_region=region):
            pass
    registered = [read(record, InstanceRegistered) for record in await records(bus, InstanceRegistered.topic)]
    found = [(event.deployment_region, event.enrolment) for event in registered if event is not None]
    assert found == [("eu", 1), ("us", 2)]


async def test_an_instance_id_that_another_key_holds_is_not_taken(tmp_path: Path) -> None:
    bus = await new_bus()
    async with Deployment(bus, new_settings(tmp_path / "a"), "berlin", "acme"):
        pass
    with pytest.raises(NotEnrolled, match="enrolled with another key"):
        async with Deployment(bus, new_settings(tmp_path / "b"), "berlin", "mallory"):
            pass


async def test_where_the_operator_enrols_it_does_not_register_itself(tmp_path: Path) -> None:
    bus = await new_bus()
    settings = operated(new_settings(tmp_path), Keys(tmp_path))
    deployment = Deployment(bus, settings, "berlin", "acme")
    with pytest.raises(NotEnrolled, match="the operator has not enrolled it"):
        async with deployment:
            pass
    assert await records(bus, InstanceRegistered.topic) == []


async def test_a_cover_of_its_report_answers(tmp_path: Path) -> None:
    bus = await new_bus()
    async with Deployment(bus, new_settings(tmp_path), "berlin", "acme") as deployment:
        waiting = asyncio.create_task(deployment.publish(PATTERNS))
        report = await _report(bus)
        await write(
            bus, result(1, cover("paris", report.sequence + 9)), result(2, cover("berlin", report.sequence))
        )
        update = await waiting
    assert update.included
    assert update.result.number == 2
    assert update.scores is not None
    assert update.sequence == report.sequence
    assert report.pattern_type == ("behavioral", "temporal")
    assert report.key_epoch == 0
    assert "checkout" not in report.model_dump_json()


async def test_a_cover_of_a_newer_report_answers_too(tmp_path: Path) -> None:
    bus = await new_bus()
    async with Deployment(bus, new_settings(tmp_path), "berlin", "acme") as deployment:
        waiting = asyncio.create_task(deployment.publish(PATTERNS))
        report = await _report(bus)
        await write(bus, result(1, cover("berlin", report.sequence - 1)))
        await write(bus, result(2, cover("berlin", report.sequence + 1)))
        update = await waiting
    assert update.result.number == 2


async def test_a_refused_report_is_answered_with_the_reason(tmp_path: Path) -> None:
    bus = await new_bus()
    async with Deployment(bus, new_settings(tmp_path), "berlin", "acme") as deployment:
        waiting = asyncio.create_task(deployment.publish(PATTERNS))
        report = await _report(bus)
        await write(bus, result(1, cover("berlin", report.sequence, "refused:too_old")))
        update = await waiting
    assert not update.included
    assert update.cover.outcome == "refused:too_old"
    assert update.scores is None


async def test_without_a_cover_the_wait_ends_with_what_to_look_at(tmp_path: Path) -> None:
    bus = await new_bus()
    async with Deployment(bus, new_settings(tmp_path), "berlin", "acme") as deployment:
        with pytest.raises(NotCovered, match=r"dead-letters.*readyz") as raised:
            await deployment.publish(PATTERNS, timeout_s=0.01)
    assert raised.value.sequence == (await _report(bus)).sequence


async def test_more_patterns_than_a_report_holds_are_refused(tmp_path: Path) -> None:
    async with Deployment(await new_bus(), new_settings(tmp_path), "berlin", "acme") as deployment:
        with pytest.raises(TooManyPatterns, match="5001 patterns"):
            await deployment.publish([PATTERNS[0]] * 5001)


async def test_announced_a_synchronization_gets_what_it_holds_once_more(tmp_path: Path) -> None:
    bus = await new_bus()
    async with Deployment(bus, new_settings(tmp_path), "berlin", "acme") as deployment:
        waiting = asyncio.create_task(deployment.publish(PATTERNS))
        first = await _report(bus)
        await write(bus, result(1, cover("berlin", first.sequence)), announcement(SynchronizationAnnounced))
        second = await _report(bus, 2)
        await waiting
    assert second.sequence > first.sequence
    assert second.signature_id == first.signature_id


async def test_before_it_has_published_anything_it_answers_noannouncement(tmp_path: Path) -> None:
    bus = await new_bus()
    for partition in range(PARTITIONS):
        await mark(bus, partition, 1)
    async with Deployment(bus, new_settings(tmp_path), "berlin", "acme"):
        await write(bus, announcement(SynchronizationAnnounced), announcement(KnowledgeAnnounced))
        await records(bus, KnowledgeAcknowledged.topic, 1)  # so it has read the announcement before it, too
    assert await records(bus, PatternReport.topic) == []


class _Warned(logging.Handler):
    """Lets a test wait for a warning."""

    def __init__(self) -> None:
        super().__init__()
        self.warned = asyncio.Event()

    def emit(self, record: logging.LogRecord) -> None:
        if "knowledge.unread" in record.getMessage():
            self.warned.set()


async def test_it_acknowledges_knowledge_that_is_whole_and_no_other(tmp_path: Path) -> None:
    bus = await new_bus()
    await release(bus, "a", 0)
    await mark(bus, 0, 1)
    handler = _Warned()
    logging.getLogger("convergence").addHandler(handler)
    async with Deployment(bus, new_settings(tmp_path, wait_timeout_s=0.05), "berlin", "acme") as deployment:
        await write(bus, announcement(KnowledgeAnnounced, 1))
        await handler.warned.wait()
        for partition in range(PARTITIONS):
            await mark(bus, partition, 2)
        await write(bus, announcement(KnowledgeAnnounced, 2))
        (record,) = await records(bus, KnowledgeAcknowledged.topic, 1)
        assert set(deployment.knowledge) == {pattern_id("a")}
    logging.getLogger("convergence").removeHandler(handler)
    acknowledged = read(record, KnowledgeAcknowledged)
    assert acknowledged is not None
    assert acknowledged.round_id == "default/synchronization/2"
    assert record.partition == key_partition("default", PARTITIONS)


async def test_a_restart_reports_with_a_higher_sequence_though_the_clock_went_back(tmp_path: Path) -> None:
    bus = await new_bus()
    for now_ms in (5000, 1000):
        async with Deployment(
            bus, new_settings(tmp_path), "berlin", "acme", clock=partial(int, now_ms)
        ) as deployment:
            with pytest.raises(NotCovered):
                await deployment.publish(PATTERNS, timeout_s=0.01)
    assert (await _report(bus, 2)).sequence > (await _report(bus, 1)).sequence


@pytest.mark.parametrize("abandoned", [True, False])
async def test_a_request_is_answered_by_the_round_that_lists_it(tmp_path: Path, *, abandoned: bool) -> None:
    bus = await new_bus()
    async with Deployment(bus, new_settings(tmp_path), "berlin", "acme") as deployment:
        waiting = asyncio.create_task(deployment.request_synchronization())
        (record,) = await records(bus, SynchronizationRequested.topic, 1)
        request = read(record, SynchronizationRequested)
        assert request is not None
        other = result(1, kind=RoundKind.SYNCHRONIZATION, commands=("another",))
        answer = result(2, kind=RoundKind.SYNCHRONIZATION, commands=(request.request_id,))
        if abandoned:
            answer = RoundAbandoned(
                federation="default",
                round_id="default/synchronization/2",
                kind=RoundKind.SYNCHRONIZATION,
                number=2,
                timestamp=1,
                phase=Phase.COLLECTION,
                reason=AbandonReason.BELOW_QUORUM,
                instance_count=1,
                min_instances=2,
                dropped={},
                commands=(request.request_id,),
                next_sync_window=None,
            )
        await write(bus, other, answer)
        found = await waiting
    assert isinstance(found, RoundAbandoned if abandoned else SynchronizationCompleted)
    assert found.number == 2
    assert request.requested_by == "berlin"


async def test_a_rotated_key_is_adopted_when_the_operator_has_brought_it_in(tmp_path: Path) -> None:
    bus, keys = await new_bus(), Keys(tmp_path)
    settings = operated(new_settings(tmp_path), keys)
    deployment = Deployment(bus, settings, "berlin", "acme")
    async with Operator(bus, settings) as operator:
        await operator.enrol(deployment.document)
        async with deployment:
            following = signing.public_key(keys.ensure_next_instance("default", "berlin"))
            with pytest.raises(NotEnrolled, match=f"the next key {following} is not enrolled"):
                await deployment.adopt_next_key()
            await operator.rotate("berlin", following)
            await deployment.adopt_next_key()
            with pytest.raises(NotCovered):
                await deployment.publish(PATTERNS, timeout_s=0.01)
    (record,) = await records(bus, PatternReport.topic)
    assert dict(record.headers)["flc_key"].decode() == following
