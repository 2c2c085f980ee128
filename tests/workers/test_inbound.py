"""Who sent a record is settled before what it says, and every failure has its own reason."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.dead_letters import DeadLetter
from schemas.event import MAX_RECORD_BYTES, MAX_REPORT_ROWS
from schemas.instances import Heartbeat
from schemas.partitioning import key_partition
from schemas.reasons import Reason
from schemas.reports import PatternReport
from tests.bad_input.classes import ANY_JSON, REPORT_JSON
from tests.bad_input.drafts import DRAFTS, Draft, report
from tests.deployments import NOW_MS, Instance, context, key_of
from workers import dead_letters, inbound, parsing
from workers.fold import Record
from workers.inbound import Address, Opened, Refusal

ALPHA = Instance()


def own_key(_address: Address, _event_type: str, key_id: str, _now_ms: int) -> Reason | None:
    return None if key_id == ALPHA.public_key else Reason.UNKNOWN_KEY


def opened(record: Record) -> Opened[PatternReport] | Refusal:
    return inbound.open_record(record, (PatternReport,), own_key, context())


def reason_of(record: Record) -> Reason:
    result = opened(record)
    assert isinstance(result, Refusal)
    return result.reason


def report_json(**changes: Any) -> bytes:
    return orjson.dumps(ALPHA.document() | changes)


def written(pattern: str, literal: str) -> bytes:
    """Return the JSON of a good report in which ``literal`` stands for ``pattern``."""
    value = report_json().decode()
    assert pattern in value
    return value.replace(pattern, literal, 1).encode("utf-8", "surrogatepass")


def test_a_signed_report_is_opened() -> None:
    result = opened(ALPHA.report())
    assert isinstance(result, Opened)
    assert result.event == PatternReport.model_validate_json(report_json())
    assert result.key_id == ALPHA.public_key


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"value": b"{}" + b" " * MAX_RECORD_BYTES}, Reason.TOO_LARGE),
        ({"key": None}, Reason.NO_KEY),
        ({"key": b""}, Reason.NO_KEY),
        ({"key": b"default/\xff"}, Reason.KEY_MISMATCH),
        ({"key": "default/аlpha".encode()}, Reason.KEY_MISMATCH),  # noqa: RUF001  (a homoglyph)
        ({"key": b"default/alpha/beta"}, Reason.KEY_MISMATCH),
        ({"key": b"default/alpha\n"}, Reason.KEY_MISMATCH),
        ({"key": b"default/beta"}, Reason.KEY_MISMATCH),
        ({"value": None}, Reason.TOMBSTONE),
        ({"key": None, "value": None, "append_ms": 0}, Reason.CORRUPT_BATCH),
        ({"headers": ()}, Reason.BAD_HEADERS),
        ({"value": b"not what was signed"}, Reason.BAD_SIGNATURE),
    ],
)
def test_a_record_that_is_not_as_records_are_is_refused(change: dict[str, Any], reason: Reason) -> None:
    assert reason_of(replace(ALPHA.report(), **change)) is reason


def test_a_record_in_a_partition_that_its_key_does_not_hash_to_is_refused() -> None:
    where = context(partitions={"flc.reports.v1": 6})
    wrong = (key_partition("default/alpha", 6) + 1) % 6
    record = replace(ALPHA.report(), partition=wrong)
    result = inbound.open_record(record, (PatternReport,), own_key, where)
    assert isinstance(result, Refusal)
    assert result.reason is Reason.WRONG_PARTITION


@pytest.mark.parametrize(
    ("headers", "reason"),
    [
        ({"ce_type": b"\xff"}, Reason.BAD_HEADERS),
        ({"ce_specversion": b"0.3"}, Reason.BAD_HEADERS),
        ({"padding": b"x" * 5000}, Reason.BAD_HEADERS),
        ({"ce_type": b"Heartbeat"}, Reason.UNKNOWN_TYPE),
        ({"ce_dataschema": b"urn:flc:PatternReport:2"}, Reason.UNKNOWN_VERSION),
        ({"flc_key": b""}, Reason.UNSIGNED),
        ({"flc_signature": b""}, Reason.UNSIGNED),
        ({"flc_signature": b"00" * 64}, Reason.BAD_SIGNATURE),
        ({"flc_signature": b"no hex"}, Reason.BAD_SIGNATURE),
        ({"flc_signature": b"\xff"}, Reason.BAD_SIGNATURE),
        ({"flc_key": b"\xff"}, Reason.UNKNOWN_KEY),
        ({"content-type": b"application/cloudevents+json"}, Reason.BAD_HEADERS),
    ],
)
def test_headers_that_do_not_hold_are_refused(headers: dict[str, bytes], reason: Reason) -> None:
    assert reason_of(ALPHA.raw(report_json(), headers=headers)) is reason


def test_a_repeated_header_is_refused() -> None:
    record = ALPHA.report()
    assert reason_of(replace(record, headers=(*record.headers, record.headers[0]))) is Reason.BAD_HEADERS


def test_a_header_that_nobody_knows_does_no_harm() -> None:
    assert isinstance(opened(ALPHA.raw(report_json(), headers={"x-proxy": b"yes"})), Opened)


def test_a_signature_by_another_key_is_refused() -> None:
    assert reason_of(ALPHA.raw(report_json(), by=key_of("mallory"))) is Reason.UNKNOWN_KEY


def test_the_signature_of_another_topics_event_is_refused() -> None:
    beat = ALPHA.raw(report_json(), Heartbeat)
    forged = {name: content for name, content in beat.headers if name.startswith("flc_")}
    assert reason_of(ALPHA.raw(report_json(), headers=forged)) is Reason.BAD_SIGNATURE


@pytest.mark.parametrize("elsewhere", DRAFTS)
@pytest.mark.parametrize("captured", DRAFTS)
def test_what_was_signed_for_one_topic_counts_on_no_other(captured: str, elsewhere: str) -> None:
    """The event of one topic is sent on another, under its own type and under the other's."""
    sent, there = DRAFTS[captured](ALPHA, NOW_MS), DRAFTS[elsewhere](ALPHA, NOW_MS)
    record = replace(sent.record(), topic=elsewhere, key=there.key.encode())
    signature = {name: content for name, content in record.headers if name.startswith("flc_")}
    renamed = dict(there.record().headers) | signature
    reasons = []
    for headers in (record.headers, tuple(renamed.items())):
        result = inbound.open_record(
            replace(record, headers=headers), (there.model,), lambda *_: None, context()
        )
        reasons.append(result.reason if isinstance(result, Refusal) else None)
    same = captured == elsewhere
    assert reasons == ([None, None] if same else [Reason.UNKNOWN_TYPE, Reason.BAD_SIGNATURE])


def test_nothing_is_parsed_of_what_is_not_authenticated() -> None:
    record = replace(ALPHA.raw(b"{" * 100), value=b"[" * 100)
    result = opened(record)
    assert result == Refusal(Reason.BAD_SIGNATURE, federation="default")


@pytest.mark.parametrize(
    ("name", "spoil", "reason"),
    [*ANY_JSON, *REPORT_JSON],
    ids=lambda one: one if isinstance(one, str) else "",
)
def test_json_that_a_lenient_parser_might_take_is_refused(
    name: str, spoil: Callable[[Draft], bytes], reason: Reason
) -> None:
    assert parsing.parse(spoil(report(ALPHA, NOW_MS)), PatternReport) is reason, name


@pytest.mark.parametrize(
    "value",
    [
        json.dumps(ALPHA.document(), indent=2).encode(),
        orjson.dumps(ALPHA.document(0)),
        orjson.dumps(ALPHA.document(MAX_REPORT_ROWS)),
        written('"latency"', '"l\\u0061tency"'),
        written("0.9", "-0.0"),
        written("0.9", "1"),
        written("0.9", "9e-1"),
    ],
    ids=["indented", "nothing held", "full", "escaped", "minus zero", "integer", "exponent"],
)
def test_unusual_but_correct_json_is_taken_as_the_model_takes_it(value: bytes) -> None:
    assert parsing.parse(value, PatternReport) == PatternReport.model_validate_json(value)


@given(st.binary(max_size=200))
def test_no_bytes_make_the_parser_fail(value: bytes) -> None:
    assert isinstance(parsing.parse(value, PatternReport), Reason)


@given(st.data())
def test_no_damage_makes_the_parser_fail(data: st.DataObject) -> None:
    value = bytearray(report_json())
    for _ in range(data.draw(st.integers(1, 4))):
        value[data.draw(st.integers(0, len(value) - 1))] = data.draw(st.integers(0, 255))
    result = parsing.parse(bytes(value), PatternReport)
    assert isinstance(result, Reason | PatternReport)


def test_an_instance_does_not_write_as_another() -> None:
    value = orjson.dumps(ALPHA.document() | {"instance_id": "beta"})
    assert opened(ALPHA.raw(value)) == Refusal(
        Reason.KEY_MISMATCH, authenticated=True, sequence=None, federation="default"
    )


@pytest.mark.parametrize(
    ("offset_ms", "reason"),
    [(120_001, Reason.TOO_EARLY), (120_000, None), (-86_400_000, None), (-86_400_001, Reason.TOO_OLD)],
)
def test_the_sequence_is_the_sending_time(offset_ms: int, reason: Reason | None) -> None:
    result = opened(ALPHA.report(sequence=NOW_MS + offset_ms))
    assert (result.reason if isinstance(result, Refusal) else None) is reason


def test_the_sequence_of_a_malformed_report_is_told_if_it_is_credible() -> None:
    told = opened(ALPHA.raw(report_json(module="billing")))
    untold = opened(ALPHA.raw(report_json(module="billing", sequence=NOW_MS * 2)))
    assert isinstance(told, Refusal)
    assert isinstance(untold, Refusal)
    assert (told.sequence, untold.sequence) == (NOW_MS, None)


def test_a_structured_event_is_read() -> None:
    document = {"specversion": "1.0", "id": "1", "source": "/a", "type": "PatternReport"}
    value = orjson.dumps(document | {"data": ALPHA.document()})
    record = ALPHA.raw(value)
    kept = tuple(pair for pair in record.headers if pair[0].startswith("flc_"))
    structured = (*kept, ("content-type", b"application/cloudevents+json"))
    assert isinstance(opened(replace(record, headers=structured)), Opened)


def test_a_structured_event_in_which_a_key_stands_twice_is_refused() -> None:
    data = ALPHA.raw(report_json()).value or b""
    head = b'{"specversion":"1.0","id":"1","source":"/a","type":"PatternReport","data":'
    record = ALPHA.raw(head + data.replace(b"{", b'{"instance_id":"beta",', 1) + b"}")
    kept = tuple(pair for pair in record.headers if pair[0].startswith("flc_"))
    structured = (*kept, ("content-type", b"application/cloudevents+json"))
    result = opened(replace(record, headers=structured))
    assert isinstance(result, Refusal)
    assert result.reason is Reason.BAD_HEADERS


def test_a_dead_letter_names_the_record_and_nothing_that_is_in_it() -> None:
    record = replace(ALPHA.raw(b'{"secret":"billing"}'), offset=7)
    emit = dead_letters.refuse(record, Reason.BAD_JSON, "privacy", context(), "default")
    letter = emit.event
    assert isinstance(letter, DeadLetter)
    assert (emit.key, emit.id) == ("flc.reports.v1/0/7", "flc.reports.v1/0/7/bad_json")
    assert (letter.source_offset, letter.length, letter.append_ms) == (7, 20, NOW_MS)
    assert b"billing" not in letter.encode()
    assert b"secret" not in letter.encode()


def test_the_digest_of_a_dead_letter_depends_on_the_key() -> None:
    digests = set()
    for key in ("one", "two"):
        emit = dead_letters.refuse(ALPHA.report(), Reason.BAD_JSON, "p", context(dead_letter_key=key))
        assert isinstance(emit.event, DeadLetter)
        digests.add(emit.event.digest)
    assert len(digests) == 2
