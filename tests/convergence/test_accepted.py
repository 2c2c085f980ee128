"""What the client sends is what the workers take."""

from pathlib import Path

import pytest

from convergence.keys import Keys
from convergence.outbound import Sender, report
from convergence.patterns import Pattern
from convergence.sequence import now_ms
from schemas.commands import SynchronizationRequested
from schemas.event import MAX_RECORD_BYTES, MAX_REPORT_ROWS, Inbound
from schemas.instances import Heartbeat, InstanceDeregistered, InstanceRegistered, PublicKey
from schemas.knowledge import KnowledgeAcknowledged
from schemas.reports import PatternReport
from tests.convergence.federation import TOPICS, new_bus
from workers import inbound
from workers.fold import Context
from workers.runtime.port import TopicPartition
from workers.settings import Settings

NOW_MS = now_ms()
COUNTS = dict.fromkeys(TOPICS, 2)
WHO = {"federation": "default", "instance_id": "berlin"}

EVENTS: tuple[Inbound, ...] = (
    InstanceRegistered.model_validate(
        {
            **WHO,
            "instance_name": "",
            "deployment_region": "",
            "organisation": "acme",
            "enrolment": 1,
            "public_keys": (PublicKey(key="ab" * 32),),
        }
    ),
    InstanceDeregistered.model_validate({**WHO, "enrolment": 2}),
    Heartbeat.model_validate({**WHO, "sequence": NOW_MS, "total_requests": 0, "pattern_count": 0}),
    KnowledgeAcknowledged.model_validate(
        {**WHO, "round_id": "default/synchronization/1", "sequence": NOW_MS}
    ),
    SynchronizationRequested(federation="default", request_id="r", requested_by="berlin", sequence=NOW_MS),
    SynchronizationRequested(federation="default", request_id="r", requested_by=None, sequence=NOW_MS),
)


async def _judge(event: Inbound, keys: Keys) -> inbound.Opened[Inbound] | inbound.Refusal:
    """Return what the workers' gates say of the event as the client sends it."""
    bus = await new_bus()
    name = getattr(event, "instance_id", None) or getattr(event, "requested_by", None)
    sender = Sender("default", name, keys.ensure_instance("default", "berlin"), COUNTS)
    message = sender.message(event, 1, NOW_MS)
    await (await bus.producer()).send([message])
    reader = await bus.reader({TopicPartition(message.topic, message.partition): -2})
    (record,) = await reader.poll(0)
    assert len(record.value or b"") <= MAX_RECORD_BYTES
    context = Context(record.partition, COUNTS, Settings())
    return inbound.open_record(record, (type(event),), lambda *_: None, context)


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: type(event).__name__)
async def test_every_event_passes_the_gates(tmp_path: Path, event: Inbound) -> None:
    opened = await _judge(event, Keys(tmp_path))
    assert isinstance(opened, inbound.Opened), opened
    assert opened.event == event


async def test_the_largest_report_passes_the_gates(tmp_path: Path) -> None:
    keys = Keys(tmp_path)
    key = keys.new_federation("default")
    third = 0.3333333333333333
    patterns = [
        Pattern(f"p{number}", "a" * 32, third, third, third, 2**31 - 1) for number in range(MAX_REPORT_ROWS)
    ]
    event = report("default", "berlin", NOW_MS, key, patterns)
    opened = await _judge(event, keys)
    assert isinstance(opened, inbound.Opened), opened
    assert isinstance(opened.event, PatternReport)
    assert len(set(opened.event.signature_id)) == MAX_REPORT_ROWS
