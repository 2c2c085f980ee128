"""The classes of bad input, one a line: how a good event is spoilt, and the reason that it is refused for."""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import orjson

from schemas.event import MAX_REPORT_ROWS
from schemas.reasons import Reason, RowReason
from tests.bad_input.drafts import MALLORY, Draft, elsewhere, twice
from tests.deployments import good_row
from workers.fold import Record

#: Text that stands in what is refused, and must not be found in any dead letter.
MARK = "canary"

HOUR_MS = 3_600_000


@dataclass(frozen=True)
class BadInput:
    """A class of bad input; ``authenticated``: the sender is known by then, so a report has an Admission."""

    name: str
    spoil: Callable[[Draft], Record]
    reason: Reason
    authenticated: bool = False


Json = tuple[str, Callable[[Draft], bytes], Reason]


def literal(pattern: str, text: str) -> Callable[[Draft], bytes]:
    """Return how ``text`` is written in the place of ``pattern`` (the JSON of a good report has it)."""

    def spoil(draft: Draft) -> bytes:
        value = draft.json.decode()
        assert pattern in value
        return value.replace(pattern, text, 1).encode("utf-8", "surrogatepass")

    return spoil


def changed(**fields: Any) -> Callable[[Draft], bytes]:
    """Return how fields of the document are replaced or added."""
    return lambda draft: orjson.dumps({**draft.document, **fields})


def raw(value: bytes) -> Callable[[Draft], bytes]:
    """Return how the whole value is replaced."""
    return lambda _: value


def added(text: str) -> Callable[[Draft], bytes]:
    """Return how a field is added that orjson would not write."""
    return lambda draft: draft.json[:-1] + f',"{MARK}":{text}}}'.encode()


#: JSON that no event may be.
ANY_JSON: list[Json] = [
    ("not a number", added("NaN"), Reason.NOT_FINITE),
    ("infinity", added("-Infinity"), Reason.NOT_FINITE),
    ("a float beyond all", added("1e999"), Reason.NOT_FINITE),
    ("an integer of 20 digits", added(str(2**64)), Reason.INT_RANGE),
    ("an integer of 400 digits", added("9" * 400), Reason.INT_RANGE),
    ("a key that stands twice", added(f'1,"{MARK}":1'), Reason.DUPLICATE_KEY),
    ("a key that stands twice, once escaped", added(f'1,"\\u0063{MARK[1:]}":1'), Reason.DUPLICATE_KEY),
    ("a lone surrogate", added('"\\ud800"'), Reason.BAD_UTF8),
    ("overlong UTF-8", lambda draft: draft.json.replace(b"a", b"\xc0\x80", 1), Reason.BAD_UTF8),
    ("UTF-16", lambda draft: draft.json.decode().encode("utf-16"), Reason.BAD_UTF8),
    ("a byte order mark", lambda draft: b"\xef\xbb\xbf" + draft.json, Reason.BAD_JSON),
    ("something behind it", lambda draft: draft.json + MARK.encode(), Reason.BAD_JSON),
    ("a second object", lambda draft: draft.json * 2, Reason.BAD_JSON),
    ("a comment", lambda draft: b"// canary\n" + draft.json, Reason.BAD_JSON),
    ("007", added("007"), Reason.BAD_JSON),
    ("+1", added("+1"), Reason.BAD_JSON),
    ("hexadecimal", added("0x1"), Reason.BAD_JSON),
    ("cut off", lambda draft: draft.json[:-1], Reason.BAD_JSON),
    ("nested deeper than is written back", raw(b'{"a": ' + b"[" * 900 + b"]" * 900 + b"}"), Reason.TOO_DEEP),
    ("nothing", raw(b""), Reason.NOT_OBJECT),
    ("blanks", raw(b"  \n"), Reason.NOT_OBJECT),
    ("null", raw(b"null"), Reason.NOT_OBJECT),
    ("a list", raw(b"[]"), Reason.NOT_OBJECT),
    ("a text", raw(b'"canary"'), Reason.NOT_OBJECT),
    ("a field that nobody knows", added('"x"'), Reason.UNKNOWN_FIELD),
    ("a field that is missing", lambda draft: draft.without("federation"), Reason.MISSING_FIELD),
    ("an empty object", raw(b"{}"), Reason.MISSING_FIELD),
    ("a name in capitals", changed(federation="Canary"), Reason.INVALID_VALUE),
    ("a name that ends its line", changed(federation="canary\n"), Reason.INVALID_VALUE),
    ("a number for a text", changed(federation=1), Reason.WRONG_TYPE),
]

#: JSON that is no report.
REPORT_JSON: list[Json] = [
    ("NaN in a column", literal("0.9", "NaN"), Reason.NOT_FINITE),
    ("Infinity in a column", literal("0.9", "Infinity"), Reason.NOT_FINITE),
    ("a text in a column of numbers", literal("0.9", '"NaN"'), Reason.WRONG_TYPE),
    ("true in a column of numbers", literal("0.9", "true"), Reason.WRONG_TYPE),
    ("null in a column of numbers", literal("0.9", "null"), Reason.WRONG_TYPE),
    ("1.0 for an integer", literal('"frequency":[10', '"frequency":[1.0'), Reason.WRONG_TYPE),
    ("a text for an integer", literal('"frequency":[10', '"frequency":["5"'), Reason.WRONG_TYPE),
    ("true for an integer", literal('"frequency":[10', '"frequency":[true'), Reason.WRONG_TYPE),
    ("2^64 in a column", literal('"frequency":[10', f'"frequency":[{2**64}'), Reason.INT_RANGE),
    ("4,000 digits in a column", literal('"frequency":[10', '"frequency":[' + "9" * 4000), Reason.INT_RANGE),
    ("-10^30 in a column", literal('"frequency":[10', '"frequency":[-' + "9" * 30), Reason.INT_RANGE),
    ("1.0 for a bounded integer", literal('"key_epoch":1', '"key_epoch":1.0'), Reason.WRONG_TYPE),
    ("true for a bounded integer", literal('"key_epoch":1', '"key_epoch":true'), Reason.WRONG_TYPE),
    ("an integer out of range", changed(key_epoch=-1), Reason.INT_RANGE),
    ("a negative sequence", changed(sequence=-1), Reason.INT_RANGE),
    ("a date for a sequence", changed(sequence="2026-01-01T00:00:00"), Reason.WRONG_TYPE),
    ("an unpaired surrogate in a text", literal("latency", "\ud800"), Reason.BAD_UTF8),
    ("nested 500,000 deep", raw(b"[" * 500_000), Reason.TOO_DEEP),
    ("a name with a homoglyph", changed(instance_id="аlpha"), Reason.INVALID_VALUE),  # noqa: RUF001
    ("an unknown scheme", changed(identity_scheme=MARK), Reason.UNKNOWN_SCHEME),
    ("a scheme of another type", changed(identity_scheme=1), Reason.UNKNOWN_SCHEME),
    ("columns of different lengths", changed(strength=[0.9]), Reason.RAGGED_COLUMNS),
    ("a number for a column", changed(strength=0.9), Reason.WRONG_TYPE),
    ("a module beside the columns", changed(module=MARK), Reason.UNKNOWN_FIELD),
    (
        "5,001 rows",
        lambda draft: orjson.dumps(
            {**draft.document, **{name: [cell] * (MAX_REPORT_ROWS + 1) for name, cell in good_row(0).items()}}
        ),
        Reason.TOO_MANY_ROWS,
    ),
]


def of_json(name: str, spoil: Callable[[Draft], bytes], reason: Reason) -> BadInput:
    """Return the class of records whose JSON is spoilt and signed as it is."""
    return BadInput(name, lambda draft: draft.record(spoil(draft)), reason, authenticated=True)


#: What is wrong with the record, whatever event it should be.
RECORDS: list[BadInput] = [
    BadInput("no key", lambda draft: replace(draft.record(), key=None), Reason.NO_KEY),
    BadInput(
        "a key that is no text",
        lambda draft: replace(draft.record(), key=b"canary/\xff"),
        Reason.KEY_MISMATCH,
    ),
    BadInput(
        "a key with a homoglyph",
        lambda draft: replace(draft.record(), key="canаry/x".encode()),  # noqa: RUF001
        Reason.KEY_MISMATCH,
    ),
    BadInput("a tombstone", lambda draft: replace(draft.record(), value=None), Reason.TOMBSTONE),
    BadInput(
        "another partition", lambda draft: elsewhere(draft.record(), draft.partitions), Reason.WRONG_PARTITION
    ),
    BadInput("a header that stands twice", lambda draft: twice(draft.record()), Reason.BAD_HEADERS),
    BadInput(
        "5 kB of headers",
        lambda draft: draft.record(headers={MARK: MARK.encode() * 900}),
        Reason.BAD_HEADERS,
    ),
    BadInput("no headers", lambda draft: replace(draft.record(), headers=()), Reason.BAD_HEADERS),
    BadInput(
        "a version of CloudEvents that nobody knows",
        lambda draft: draft.record(headers={"ce_specversion": b"canary"}),
        Reason.BAD_HEADERS,
    ),
    BadInput(
        "an unknown type", lambda draft: draft.record(headers={"ce_type": b"Canary"}), Reason.UNKNOWN_TYPE
    ),
    BadInput(
        "an unknown version of the schema",
        lambda draft: draft.record(headers={"ce_dataschema": b"urn:flc:Canary:2"}),
        Reason.UNKNOWN_VERSION,
    ),
    BadInput("unsigned", lambda draft: draft.record(headers={"flc_signature": b""}), Reason.UNSIGNED),
    BadInput("no key id", lambda draft: draft.record(headers={"flc_key": b""}), Reason.UNSIGNED),
    BadInput("signed by somebody else", lambda draft: draft.record(by=MALLORY), Reason.UNKNOWN_KEY),
    BadInput(
        "a signature of other bytes", lambda draft: replace(draft.record(), value=b"{}"), Reason.BAD_SIGNATURE
    ),
    BadInput(
        "a signature that is no hex",
        lambda draft: draft.record(headers={"flc_signature": b"canary"}),
        Reason.BAD_SIGNATURE,
    ),
    BadInput(
        "the signature of another topic's event",
        lambda draft: draft.record(topic="flc.canary.v1"),
        Reason.BAD_SIGNATURE,
    ),
]

#: Who may say what: the events of instances.
OF_INSTANCES: list[BadInput] = [
    BadInput(
        "in the name of another instance",
        lambda draft: draft.record(instance_id="canary"),
        Reason.KEY_MISMATCH,
        authenticated=True,
    ),
    BadInput(
        "of a federation that it is not in",
        lambda draft: draft.record(federation="canary"),
        Reason.KEY_MISMATCH,
        authenticated=True,
    ),
    BadInput(
        "from the future",
        lambda draft: draft.record(sequence=draft.at_ms + HOUR_MS),
        Reason.TOO_EARLY,
        authenticated=True,
    ),
    BadInput(
        "from the day before yesterday",
        lambda draft: draft.record(sequence=draft.at_ms - 48 * HOUR_MS),
        Reason.TOO_OLD,
        authenticated=True,
    ),
]

#: Requests for a synchronization: they are only as old as minutes.
REQUESTS: list[BadInput] = [
    BadInput(
        "ten minutes old", lambda draft: draft.record(sequence=draft.at_ms - HOUR_MS // 6), Reason.TOO_OLD
    ),
    BadInput("from the future", lambda draft: draft.record(sequence=draft.at_ms + HOUR_MS), Reason.TOO_EARLY),
    BadInput(
        "larger than any request", lambda draft: draft.record(requested_by=MARK * 1_000), Reason.TOO_LARGE
    ),
]


@dataclass(frozen=True)
class BadRow:
    """A row that is not taken; the report is, with its other rows."""

    name: str
    row: dict[str, Any]
    reason: RowReason | None


#: Rows of a report; None: the row is taken, as it is or made good.
ROWS: list[BadRow] = [
    BadRow("an id with digits that are not ASCII", {"signature_id": "٣" * 32}, RowReason.BAD_SIGNATURE_ID),
    BadRow("an id in capitals", {"signature_id": "A" * 32}, RowReason.BAD_SIGNATURE_ID),
    BadRow("an id that is too short", {"signature_id": "a"}, RowReason.BAD_SIGNATURE_ID),
    BadRow("a type in capitals", {"pattern_type": "Canary"}, RowReason.BAD_PATTERN_TYPE),
    BadRow("a type with letters that are not ASCII", {"pattern_type": "é"}, RowReason.BAD_PATTERN_TYPE),
    BadRow("a strength above one", {"strength": 1.5}, RowReason.OUT_OF_RANGE),
    BadRow("a negative resonance", {"resonance": -0.1}, RowReason.OUT_OF_RANGE),
    BadRow("no observation", {"frequency": 0}, RowReason.OUT_OF_RANGE),
    BadRow("too many observations", {"frequency": 2**31}, RowReason.OUT_OF_RANGE),
    BadRow(
        "the id of another row", {"signature_id": good_row(0)["signature_id"]}, RowReason.DUPLICATE_SIGNATURE
    ),
    BadRow("too little certainty", {"epistemic_certainty": 0.8}, RowReason.LOW_CERTAINTY),
    BadRow("too little quality", {"strength": 0.1}, RowReason.LOW_QUALITY),
    BadRow("minus zero", {"resonance": -0.0}, None),
    BadRow("all at one", {"strength": 1, "resonance": 1, "epistemic_certainty": 1}, None),
]

Good = Callable[[Draft], Record]

#: Unusual reports that are none the worse for it.
UNUSUAL: list[tuple[str, Good]] = [
    ("nothing held", lambda draft: draft.record(changed(**dict.fromkeys(good_row(0), ()))(draft))),
    ("indented", lambda draft: draft.record(json.dumps(draft.document, indent=2).encode())),
    ("a header that nobody knows", lambda draft: draft.record(headers={"x-proxy": b"yes"})),
    (
        "a type written with escapes",
        lambda draft: draft.record(literal('"latency"', '"l\\u0061tency"')(draft)),
    ),
    ("exponents", lambda draft: draft.record(literal("0.9", "9e-1")(draft))),
]
