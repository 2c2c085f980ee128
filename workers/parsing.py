"""Strict JSON: what every lenient parser lets pass is refused, each kind for its own reason."""

import json
import re
from collections.abc import Mapping
from typing import Any, NoReturn, TypeVar

import orjson
from pydantic import ValidationError

from schemas.event import MAX_EXACT, MAX_REPORT_ROWS, NAME_FORM, Inbound
from schemas.reasons import Reason
from schemas.reports import PatternReport

_MAX_KEY_EPOCH = 2**31 - 1
_NAME = re.compile(NAME_FORM)
_INTEGER = re.compile(r"-?[0-9]+(?![0-9.eE])")
_NOT_FINITE = re.compile(r"(NaN|Infinity)\b")

#: The columns of a report are too long for pydantic to look at every cell; these are the types of numbers.
_TEXTS = ("signature_id", "pattern_type")
_NUMBERS: Mapping[str, frozenset[type]] = {
    "strength": frozenset({float, int}),
    "resonance": frozenset({float, int}),
    "epistemic_certainty": frozenset({float, int}),
    "frequency": frozenset({int}),
}
_COLUMNS = (*_TEXTS, *_NUMBERS)
_REPORT_FIELDS = frozenset(PatternReport.model_fields)

E = TypeVar("E", bound=Inbound)


class _RefusedError(ValueError):
    """Raised inside the slow parser with the reason."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason)
        self.reason = reason


def parse(value: bytes, model: type[E]) -> E | Reason:
    """Return the event that the JSON ``value`` is, or why it is none."""
    document = read_object(value)
    if isinstance(document, Reason):
        return document
    if model is PatternReport and _is_plain_report(document):
        return model.model_construct(**document)  # type: ignore[return-value]  # E is PatternReport here
    try:
        event = model.model_validate_json(value)
    except ValidationError as error:
        return _reason(error, model)
    if isinstance(event, PatternReport) and len({len(getattr(event, name)) for name in _COLUMNS}) > 1:
        return Reason.RAGGED_COLUMNS
    return event


def read_object(value: bytes) -> dict[str, Any] | Reason:  # noqa: PLR0911  (one for each way to fail)
    """Return the JSON object, no key of which stands twice and no integer lost digits, or why it is none."""
    if not value.strip(b" \t\r\n"):
        return Reason.NOT_OBJECT
    try:
        document = orjson.loads(value)
    except orjson.JSONDecodeError as error:
        return _syntax(error)
    if not isinstance(document, dict):
        return Reason.NOT_OBJECT
    # What is written back byte for byte had no duplicate key. All else may still be fine (blanks, escapes,
    # other spellings of a number): a parser that shows every pair and every literal decides.
    try:
        if orjson.dumps(document) == value:
            return document
        json.loads(value, object_pairs_hook=_pairs, parse_int=_integer, parse_constant=_constant)
    except _RefusedError as refused:
        return refused.reason
    except (RecursionError, TypeError):  # orjson writes, and json reads, less deeply than orjson reads
        return Reason.TOO_DEEP
    return document


def _syntax(error: orjson.JSONDecodeError) -> Reason:
    message = error.msg
    # orjson names them in all its messages about UTF-8, but for the byte order mark.
    if "surrogate" in message:
        return Reason.BAD_UTF8
    if "depth limit" in message:
        return Reason.TOO_DEEP
    if "infinity" in message:
        return Reason.INT_RANGE if _INTEGER.match(error.doc, error.pos) else Reason.NOT_FINITE
    if _NOT_FINITE.match(error.doc, error.pos):
        return Reason.NOT_FINITE
    return Reason.BAD_JSON


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) != len(pairs):
        raise _RefusedError(Reason.DUPLICATE_KEY)
    return document


def _integer(literal: str) -> int:
    # orjson reads integers of 64 bits exactly and makes floats of longer ones.
    if len(literal) > len("-18446744073709551615") or not -(2**63) <= int(literal) < 2**64:
        raise _RefusedError(Reason.INT_RANGE)
    return 0


def _constant(_: str) -> NoReturn:
    raise _RefusedError(Reason.NOT_FINITE)


def _is_plain_report(document: dict[str, Any]) -> bool:
    """Tell whether the document needs no closer look; then its columns become tuples, as in the model."""
    sequence, key_epoch = document.get("sequence"), document.get("key_epoch")
    if (
        document.keys() != _REPORT_FIELDS
        or document["identity_scheme"] != "hmac-sha256-v1"
        or not (type(sequence) is int and 0 <= sequence <= MAX_EXACT)
        or not (type(key_epoch) is int and 0 <= key_epoch <= _MAX_KEY_EPOCH)
        or not all(_is_name(document[field]) for field in ("federation", "instance_id"))
    ):
        return False
    columns = [document[name] for name in _COLUMNS]
    if not {list}.issuperset(map(type, columns)):
        return False
    if len(set(map(len, columns))) > 1 or len(columns[0]) > MAX_REPORT_ROWS:
        return False
    try:
        for name in _TEXTS:
            "".join(document[name])
    except TypeError:
        return False
    if not all(kinds.issuperset(map(type, document[name])) for name, kinds in _NUMBERS.items()):
        return False
    document.update(zip(_COLUMNS, map(tuple, columns), strict=True))
    return True


def _is_name(value: object) -> bool:
    return isinstance(value, str) and _NAME.fullmatch(value) is not None


_REASONS: Mapping[str, Reason] = {
    "missing": Reason.MISSING_FIELD,
    "extra_forbidden": Reason.UNKNOWN_FIELD,
    "finite_number": Reason.NOT_FINITE,
    "string_pattern_mismatch": Reason.INVALID_VALUE,
    "json_invalid": Reason.BAD_JSON,
}


def _reason(error: ValidationError, model: type[Inbound]) -> Reason:
    details = error.errors(include_url=False, include_context=False, include_input=False)
    # An unknown field says most about who wrote the document (another version), a missing one next.
    kinds = {detail["type"] for detail in details}
    for kind in ("extra_forbidden", "missing"):
        if kind in kinds:
            return _REASONS[kind]
    first = details[0]
    kind, field = first["type"], first["loc"][0] if first["loc"] else ""
    if kind in _REASONS:
        return _REASONS[kind]
    if field == "identity_scheme":
        return Reason.UNKNOWN_SCHEME
    if kind == "too_long" and model is PatternReport:
        return Reason.TOO_MANY_ROWS
    if kind in {"greater_than_equal", "less_than_equal", "greater_than", "less_than", "int_parsing_size"}:
        return Reason.INT_RANGE
    return Reason.WRONG_TYPE if kind.endswith("_type") else Reason.INVALID_VALUE
