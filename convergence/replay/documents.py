"""Strict JSON, read slowly and plainly: the event that a value is, or the reason why it is none."""

import json
import re
from collections.abc import Mapping
from typing import Any, NoReturn, TypeVar

from pydantic import ValidationError

from schemas.event import Inbound
from schemas.reasons import Reason
from schemas.reports import PatternReport

#: Documents nested more deeply are refused.
MAX_DEPTH = 254

#: Nested so deeply, nobody looks whether the syntax is right.
MAX_SCANNED_DEPTH = 1024

#: Integers have 64 bits.
_SMALLEST, _LARGEST = -(2**63), 2**64 - 1

_COLUMNS = ("signature_id", "pattern_type", "strength", "resonance", "epistemic_certainty", "frequency")

#: What JSON takes for a blank.
_BLANKS = " \t\r\n"
_BYTE_ORDER_MARK = "\N{ZERO WIDTH NO-BREAK SPACE}"
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"?')
#: A literal that is no finite number; with a letter behind it none at all, though Python takes it for one.
_NOT_FINITE = re.compile(r"(?:NaN|Infinity)(\w?)")
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")


#: Errors of the model that count before all others, and what they mean.
_FIRST: Mapping[str, Reason] = {
    "extra_forbidden": Reason.UNKNOWN_FIELD,
    "missing": Reason.MISSING_FIELD,
}
_OF_A_VALUE: Mapping[str, Reason] = {
    "finite_number": Reason.NOT_FINITE,
    "string_pattern_mismatch": Reason.INVALID_VALUE,
    "json_invalid": Reason.BAD_JSON,
}
_OUT_OF_RANGE = frozenset(
    {"greater_than_equal", "less_than_equal", "greater_than", "less_than", "int_parsing_size"}
)

E = TypeVar("E", bound=Inbound)


class _RefusedError(Exception):
    """Raised at the first thing that is wrong."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason)
        self.reason = reason


def read(value: bytes) -> dict[str, Any] | Reason:
    """Return the JSON object that the bytes are."""
    try:
        text = value.decode()
    except UnicodeDecodeError:
        return Reason.BAD_UTF8
    if not text.strip(_BLANKS):
        return Reason.NOT_OBJECT
    if text.startswith(_BYTE_ORDER_MARK):
        return Reason.BAD_JSON
    try:
        return _object(text)
    except _RefusedError as refused:
        return refused.reason
    except ValueError:
        return Reason.BAD_JSON


def _object(text: str) -> dict[str, Any]:
    """Return the object; raises _RefusedError, or ValueError for bad syntax."""
    bare = _STRING.sub("", text)
    depth = _depth(bare)
    try:
        # First the syntax alone, then what a lenient parser lets pass.
        document = json.loads(text, parse_constant=_not_finite, parse_float=_finite, parse_int=_short)
    except _RefusedError as refused:
        literal = _NOT_FINITE.search(bare) if refused.reason is Reason.NOT_FINITE else None
        raise ValueError if literal is not None and literal[1] else refused from None
    except RecursionError:
        document = {} if text.strip(_BLANKS).startswith("{") else None
    if depth > MAX_SCANNED_DEPTH:
        raise _RefusedError(Reason.TOO_DEEP)
    if not isinstance(document, dict):
        raise _RefusedError(Reason.NOT_OBJECT)
    if depth > MAX_DEPTH:
        raise _RefusedError(Reason.TOO_DEEP)
    json.loads(text, object_pairs_hook=_once, parse_int=_bounded)
    if _LONE_SURROGATE.search(json.dumps(document, ensure_ascii=False)):
        raise _RefusedError(Reason.BAD_UTF8)
    return document


def parse(value: bytes, model: type[E]) -> E | Reason:
    """Return the event of a type that the bytes are."""
    document = read(value)
    if isinstance(document, Reason):
        return document
    try:
        event = model.model_validate_json(value)
    except ValidationError as error:
        return _reason(error, model)
    if isinstance(event, PatternReport) and len({len(getattr(event, name)) for name in _COLUMNS}) > 1:
        return Reason.RAGGED_COLUMNS
    return event


def _reason(error: ValidationError, model: type[Inbound]) -> Reason:
    errors = error.errors(include_url=False, include_context=False, include_input=False)
    kinds = [one["type"] for one in errors]
    for kind, reason in _FIRST.items():
        if kind in kinds:
            return reason
    kind, place = kinds[0], errors[0]["loc"]
    if kind in _OF_A_VALUE:
        return _OF_A_VALUE[kind]
    if place and place[0] == "identity_scheme":
        return Reason.UNKNOWN_SCHEME
    if kind == "too_long" and model is PatternReport:
        return Reason.TOO_MANY_ROWS
    if kind in _OUT_OF_RANGE:
        return Reason.INT_RANGE
    return Reason.WRONG_TYPE if kind.endswith("_type") else Reason.INVALID_VALUE


def _depth(bare: str) -> int:
    """Return how deeply brackets are nested; strings have been taken out."""
    depth = deepest = 0
    for character in bare:
        if character in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif character in "]}":
            depth -= 1
    return deepest


def _not_finite(_: str) -> NoReturn:
    raise _RefusedError(Reason.NOT_FINITE)


def _finite(literal: str) -> float:
    number = float(literal)
    if number in {float("inf"), float("-inf")}:
        raise _RefusedError(Reason.NOT_FINITE)
    return number


def _short(literal: str) -> int:
    try:
        float(int(literal))
    except (OverflowError, ValueError):  # ValueError: more digits than Python converts
        raise _RefusedError(Reason.INT_RANGE) from None
    return int(literal)


def _bounded(literal: str) -> int:
    if not _SMALLEST <= int(literal) <= _LARGEST:
        raise _RefusedError(Reason.INT_RANGE)
    return int(literal)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) < len(pairs):
        raise _RefusedError(Reason.DUPLICATE_KEY)
    return dict(pairs)
