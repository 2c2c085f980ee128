"""A pattern as a deployment learned it, with nothing hidden; as such it never leaves the deployment."""

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

import orjson

from convergence.errors import PatternError, TooManyPatterns
from convergence.types import PatternSignature
from schemas.event import MAX_FREQUENCY, MAX_REPORT_ROWS, SIGNATURE_FORM, WORD_FORM

#: Longest id, module or event type, in characters; log templates are long, and only their hash travels.
MAX_TEXT = 4_096

#: At most so many modules, and so many event types.
MAX_LIST = 256

_SIGNATURE_ID = re.compile(SIGNATURE_FORM)
_PATTERN_TYPE = re.compile(WORD_FORM)


@dataclass(frozen=True, slots=True)
class Pattern:
    """One learned pattern. strength, resonance and epistemic_certainty are in [0, 1].

    Modules and event types are sets: their order does not matter. The identity that travels is made of
    them and the pattern type; ``pattern_id`` takes part only if both are empty. A pattern that is anonymous
    already has its identity in ``signature_id`` (32 hex digits), and it travels as it is.
    """

    pattern_id: str
    pattern_type: str
    strength: float = 1.0
    resonance: float = 1.0
    epistemic_certainty: float = 1.0
    frequency: int = 1
    modules: tuple[str, ...] = ()
    event_types: tuple[str, ...] = ()
    signature_id: str = ""

    @classmethod
    def from_mapping(cls, mapping: Any, index: int = 0) -> "Pattern":
        """Return the pattern of a mapping; raises PatternError with ``index`` and the field."""
        if not isinstance(mapping, Mapping):
            raise PatternError(index, "", "not an object")
        for name in mapping:
            if name not in _FIELDS:
                raise PatternError(index, str(name), "unknown field")
        for name in ("pattern_id", "pattern_type"):
            if name not in mapping:
                raise PatternError(index, name, "missing")
        return cls(**_checked(mapping, _FIELDS, index))

    @classmethod
    def from_signature(cls, signature: Mapping[str, Any], index: int = 0) -> "Pattern":
        """Return the pattern of a PatternSignature's fields; raises PatternError likewise."""
        for name in _ANONYMOUS:
            if name not in signature:
                raise PatternError(index, name, "missing")
        return cls("", **_checked({name: signature[name] for name in _ANONYMOUS}, _ANONYMOUS, index))


def read_patterns(given: Iterable[Any]) -> tuple[Pattern, ...]:
    """Return the patterns that a caller hands in: mappings, Patterns, PatternSignatures (or their dicts).

    Optional fields that are missing get the defaults of Pattern. Raises PatternError, which is a ValueError
    that names the index and the field, and TooManyPatterns above 5,000.
    """
    if isinstance(given, str | bytes | Mapping) or not isinstance(given, Iterable):
        raise PatternError(0, "", "patterns come as a list")
    items = list(given)
    if len(items) > MAX_REPORT_ROWS:
        raise TooManyPatterns(len(items), MAX_REPORT_ROWS)
    return tuple(_read(item, index) for index, item in enumerate(items))


def _read(item: Any, index: int) -> Pattern:
    if isinstance(item, Pattern):
        names = _ANONYMOUS if item.signature_id else _FIELDS
        item = {name: getattr(item, name) for name in names}
    elif isinstance(item, PatternSignature):
        item = {name: getattr(item, name) for name in _ANONYMOUS}
    if isinstance(item, Mapping) and "signature_id" in item:
        return Pattern.from_signature(item, index)
    return Pattern.from_mapping(item, index)


def _checked(
    mapping: Mapping[str, Any], checks: Mapping[str, Callable[[Any], Any]], index: int
) -> dict[str, Any]:
    values = {}
    for name, value in mapping.items():
        try:
            values[name] = checks[name](value)
        except (ValueError, OverflowError) as error:
            raise PatternError(index, name, str(error)) from None
    return values


@dataclass(frozen=True, slots=True)
class LineError:
    """Why a line is not a pattern; lines count from 1."""

    line: int
    reason: str


def read_lines(lines: Iterable[bytes | str]) -> Iterator[Pattern | LineError]:
    """Yield the pattern of every JSON line, or why it is not one; blank lines are passed over."""
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            yield Pattern.from_mapping(orjson.loads(line), number - 1)
        except orjson.JSONDecodeError as error:
            yield LineError(number, f"not JSON: {error.msg} at column {error.colno}")
        except PatternError as error:
            yield LineError(number, f"{error.field}: {error.reason}" if error.field else error.reason)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("not a string")  # noqa: TRY004  (one kind of error for the caller to name)
    if not 0 < len(value) <= MAX_TEXT:
        raise ValueError(f"must have 1 to {MAX_TEXT} characters")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError("not valid Unicode") from None
    return value


def _signature_id(value: Any) -> str:
    if not (isinstance(value, str) and _SIGNATURE_ID.fullmatch(value)):
        raise ValueError("must be 32 lower-case hex digits")
    return value


def _pattern_type(value: Any) -> str:
    if not _PATTERN_TYPE.fullmatch(_text(value)):
        raise ValueError("must be a short lower-case word: a-z, then a-z, 0-9, '_' or '-', at most 32")
    return str(value)


def _score(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, Real):
        raise ValueError("not a number")  # noqa: TRY004
    number = float(value)
    if not (math.isfinite(number) and 0 <= number <= 1):
        raise ValueError("not in [0, 1]")
    return number


def _frequency(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise ValueError("not an integer")  # noqa: TRY004
    number = int(value)
    if not 1 <= number <= MAX_FREQUENCY:
        raise ValueError(f"not in 1 to {MAX_FREQUENCY}")
    return number


def _texts(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list | tuple | set | frozenset):
        raise ValueError("not a list")  # noqa: TRY004
    if len(value) > MAX_LIST:
        raise ValueError(f"more than {MAX_LIST} entries")
    return tuple(_text(item) for item in value)


_FIELDS: dict[str, Callable[[Any], Any]] = {
    "pattern_id": _text,
    "pattern_type": _pattern_type,
    "strength": _score,
    "resonance": _score,
    "epistemic_certainty": _score,
    "frequency": _frequency,
    "modules": _texts,
    "event_types": _texts,
}

#: What is known of a pattern that is anonymous.
_ANONYMOUS: dict[str, Callable[[Any], Any]] = {
    "signature_id": _signature_id,
    "pattern_type": _pattern_type,
    "strength": _score,
    "resonance": _score,
    "epistemic_certainty": _score,
    "frequency": _frequency,
}
