"""Whatever is written to the topics between the workers, they go on."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import orjson
import pytest

from convergence import events
from convergence.replay import log
from schemas import cloudevents
from schemas.catalogue import EVENTS
from schemas.convergence import SynchronizationCompleted
from schemas.dead_letters import DeadLetter
from schemas.event import MAX_RECORD_BYTES, Inbound
from schemas.health import InstanceHealth
from schemas.reasons import Reason
from schemas.reports import Admission, Contribution, Position
from tests.deployments import NOW_MS, context
from tests.workers.line import Line, shared_rows
from workers.catalogue import WORKERS
from workers.fold import Outcome, Record
from workers.internal import Malformed, read, read_health

ADMISSION = Admission(
    federation="default",
    instance_id="alpha",
    sequence=1,
    received=0,
    accepted=0,
    rejected={},
    outcome="admitted",
    position=Position(topic="flc.reports.v1", partition=0, offset=0),
    registration_offset=0,
)
HEADERS = cloudevents.headers("1", "Admission", "/flc/privacy/0", NOW_MS)
RECORD = Record(Admission.topic, 0, 0, NOW_MS, b"default/alpha", ADMISSION.encode(), HEADERS)

#: Topics that only workers write.
INTERNAL = {event.topic for event in EVENTS.values() if not issubclass(event, Inbound)}


def test_an_event_is_read() -> None:
    assert read(RECORD, Admission) == ADMISSION


def test_an_event_that_concerns_others_is_not_looked_at() -> None:
    record = replace(RECORD, topic=Contribution.topic, value=b"not parsed", headers=_headers("RoundBarrier"))
    assert read(record, Contribution) is None


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"value": None}, "tombstone"),
        ({"value": None, "append_ms": 0, "key": None}, "corrupt_batch"),
        ({"value": b"{" + b" " * MAX_RECORD_BYTES}, "too_large"),
        ({"headers": ()}, "bad_headers"),
        ({"headers": (*HEADERS, *HEADERS)}, "bad_headers"),
        ({"headers": (("ce_specversion", b"\xff"),)}, "bad_headers"),
        ({"topic": "flc.health.v1"}, "unknown_type"),
        ({"value": b"\x00garbage"}, "bad_json"),
        ({"value": b"[]"}, "invalid_value"),
        ({"value": b'{"federation": "default"}'}, "invalid_value"),
    ],
)
def test_what_is_no_event_is_malformed(changes: Mapping[str, Any], reason: str) -> None:
    with pytest.raises(Malformed) as caught:
        read(replace(RECORD, **changes), Admission)
    assert caught.value.reason == reason


@pytest.mark.parametrize("name", ["ce_id", "ce_type", "content-type"])
def test_a_header_without_a_value_is_malformed_and_no_reader_stumbles_over_it(name: str) -> None:
    headers: Any = (*(pair for pair in RECORD.headers if pair[0] != name), (name, None))
    record = replace(RECORD, headers=headers)
    with pytest.raises(Malformed, match="bad_headers"):
        read(record, Admission)
    assert events.read(record, Admission) is None
    assert {events.event_type(record), log.event_type(record)} <= {None, "Admission"}
    assert log.event_of(record) is None


@pytest.mark.parametrize("key", [None, b"default", b"Default/alpha", b"\xff/alpha"])
def test_a_tombstone_on_health_names_an_instance(key: bytes | None) -> None:
    tombstone = Record(InstanceHealth.topic, 0, 0, NOW_MS, b"default/alpha", None)
    assert read_health(tombstone) == ("default", "alpha", None)
    with pytest.raises(Malformed, match="key_mismatch"):
        read_health(replace(tombstone, key=key))


@pytest.mark.parametrize("key", [None, b"default", b"default/beta", b"\xff/alpha"])
def test_the_health_of_an_instance_stands_under_its_key(key: bytes | None) -> None:
    line = Line(workers=())
    line.see("alpha", 1)
    record = line.log[0]
    assert read_health(record)[:2] == ("default", "alpha")
    with pytest.raises(Malformed, match="key_mismatch"):
        read_health(replace(record, key=key))


def _headers(event_type: str) -> cloudevents.Headers:
    return cloudevents.headers("1", event_type, "/flc/test/0", NOW_MS)


GARBAGE = [
    (worker, topic, event_type)
    for worker in WORKERS.values()
    for topic in worker.inputs
    if topic in INTERNAL
    for event_type in ("", *(name for name, event in EVENTS.items() if event.topic == topic))
]


@pytest.mark.parametrize(("kind", "topic", "event_type"), GARBAGE)
@pytest.mark.parametrize("key", [None, b"\xff", b"default/alpha"])
def test_garbage_between_workers_becomes_a_dead_letter(
    kind: Any, topic: str, event_type: str, key: bytes | None
) -> None:
    worker = kind(context())
    state = worker.state()
    headers = _headers(event_type) if event_type else ()
    records = [
        Record(topic, 0, offset, NOW_MS, key, value, headers)
        for offset, value in enumerate((b"\xff\x00secret", b"{}", b"[1]", None))
    ]
    step = worker.step(state, records)
    assert sum(step.handled.values()) == len(records)
    letters = [emit for emit in step.emits if isinstance(emit.event, DeadLetter)]
    assert len(letters) == sum(n for (_, outcome), n in step.handled.items() if outcome == "dead_lettered")
    assert letters or event_type  # what says that it concerns other workers is theirs to refuse
    assert not any(b"secret" in (letter.event.encode() if letter.event else b"") for letter in letters)


def test_a_round_is_not_disturbed_by_garbage_on_every_topic() -> None:
    line = Line(acknowledgement_deadline_ms=1_000)
    for name in ("alpha", "beta"):
        line.report(name, shared_rows(), 1)

    def litter() -> None:
        for topic in sorted(INTERNAL - {DeadLetter.topic}):
            for partition in range(line.partitions[topic]):
                line.append(topic, partition, "default/alpha", b"\x00garbage", {})

    litter()
    line.wait(1_000)
    line.ask("please")
    line.run()
    litter()
    for name in ("alpha", "beta"):
        line.report(name, shared_rows(), 2)
    line.wait(2_000)
    (done,) = line.events(SynchronizationCompleted)
    assert done.instances_synced == 2
    for worker, topic in line.read:
        assert line.read[worker, topic] == sum(line.handled[worker, topic, each] for each in Outcome)


def test_a_contribution_whose_columns_are_not_as_long_as_it_says_is_a_dead_letter() -> None:
    line = Line(buckets=1)
    line.contribute({"alpha": ("alpha", 1, shared_rows())})
    good = line.log.pop()
    damages: tuple[dict[str, Any], ...] = (
        {"entries": _entries(2**62)},
        {"strength": "AAAA"},
        {"strength": "?"},
        {"pattern_types": []},
    )
    for changes in damages:
        value = orjson.dumps(orjson.loads(good.value or b"") | changes)
        line.append(good.topic, good.partition, None, value, dict(good.headers))
    line.report("alpha", shared_rows(), 1)
    line.run()
    assert line.handled["aggregation", Contribution.topic, Outcome.DEAD_LETTERED] == 4
    letters = [record.value for record in line.log if record.topic == DeadLetter.topic]
    reasons = [DeadLetter.model_validate_json(value or b"").reason for value in letters]
    assert reasons == [Reason.INVALID_VALUE] * 4


def _entries(rows: int) -> Mapping[str, Any]:
    return {
        "instance_id": ["alpha"],
        "organisation": ["alpha"],
        "sequence": [1],
        "rows": [rows],
        "removed": [False],
    }


def test_garbage_on_health_is_no_deregistration() -> None:
    line = Line()
    for name in ("alpha", "beta"):
        line.report(name, shared_rows(), 1)
    line.append(InstanceHealth.topic, line.federation_partition(), "default/alpha", b"garbage", {})
    line.wait(1_000)
    line.ask("please")
    for name in ("alpha", "beta"):
        line.report(name, shared_rows(), 2)
    line.wait(20_000)
    (done,) = line.events(SynchronizationCompleted)
    assert done.instances_synced == 2
