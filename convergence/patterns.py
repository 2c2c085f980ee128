"""A pattern as a deployment learned it, with nothing hidden; as such it never leaves the deployment."""

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from convergence.errors import PatternError

#: Longest id, module or event type, in characters; log templates are long, and only their hash travels.
MAX_TEXT = 4_096

#: At most so many modules, and so many event types.
MAX_LIST = 256

MAX_FREQUENCY = 2**31 - 1

_PATTERN_TYPE = re.compile(r"[a-z][a-z0-9_-]{0,31}")


@dataclass(frozen=True, slots=True)
class Pattern:
    """One learned pattern. strength, resonance and epistemic_certainty are in [0, 1].

    Modules and event types are sets: their order does not matter. The identity that travels is made of
    them and the pattern type; ``pattern_id`` takes part only if both are empty.
    """

    pattern_id: str
    pattern_type: str
    strength: float = 1.0
    resonance: float = 1.0
    epistemic_certainty: float = 1.0
    frequency: int = 1
    modules: tuple[str, ...] = ()
    event_types: tuple[str, ...] = ()

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
        values = {}
        for name, value in mapping.items():
            try:
                values[name] = _FIELDS[name](value)
            except ValueError as error:
                raise PatternError(index, name, str(error)) from None
        return cls(**values)


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


def _pattern_type(value: Any) -> str:
    if not _PATTERN_TYPE.fullmatch(_text(value)):
        raise ValueError("must be a short lower-case word: a-z, then a-z, 0-9, '_' or '-', at most 32")
    return str(value)


def _score(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("not a number")  # noqa: TRY004
    if not (math.isfinite(value) and 0 <= value <= 1):
        raise ValueError("not in [0, 1]")
    return float(value)


def _frequency(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError("not an integer")  # noqa: TRY004
    if not 1 <= value <= MAX_FREQUENCY:
        raise ValueError(f"not in 1 to {MAX_FREQUENCY}")
    return value


def _texts(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list | tuple):
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
