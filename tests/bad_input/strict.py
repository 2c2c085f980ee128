"""What a report or a heartbeat may be, read slowly and by the letter: shares nothing with the product."""

import json
import math
import re
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_I64, _U64 = -(2**63), 2**64

Check = Callable[[Any], bool]


class NotStrictError(ValueError):
    """Raised when the JSON is not what it must be."""


def read(value: bytes, fields: Mapping[str, Check]) -> dict[str, Any]:
    """Return the document; raises NotStrictError."""
    try:
        document = json.loads(
            value.decode("utf-8"),
            object_pairs_hook=_object,
            parse_int=_integer,
            parse_float=_float,
            parse_constant=_constant,
        )
        if not isinstance(document, dict) or document.keys() != fields.keys():
            raise NotStrictError("other fields")
        if not all(check(document[name]) for name, check in fields.items()):
            raise NotStrictError("a wrong value")
    except (ValueError, RecursionError) as error:
        raise NotStrictError(str(error)) from error
    lengths = {len(column) for column in document.values() if isinstance(column, list)}
    if len(lengths) > 1:
        raise NotStrictError("columns of different lengths")
    return document


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) != len(pairs):
        raise NotStrictError("a key stands twice")
    for text in [key for key, _ in pairs] + [content for _, content in pairs if isinstance(content, str)]:
        text.encode("utf-8")  # a lone surrogate is none
    return dict(pairs)


def _integer(literal: str) -> int:
    number = int(literal) if len(literal) < 30 else _U64
    if not _I64 <= number < _U64:
        raise NotStrictError("digits would be lost")
    return number


def _float(literal: str) -> float:
    number = float(literal)
    if not math.isfinite(number):
        raise NotStrictError("not finite")
    return number


def _constant(_: str) -> NoReturn:
    raise NotStrictError("not finite")


def _between(low: int, high: int) -> Check:
    return lambda content: type(content) is int and low <= content <= high


def _named(content: Any) -> bool:
    return isinstance(content, str) and _NAME.fullmatch(content) is not None


def _column(*kinds: type) -> Check:
    def check(content: Any) -> bool:
        if not isinstance(content, list) or len(content) > 5_000:
            return False
        for cell in content:
            if type(cell) not in kinds:
                return False
            if isinstance(cell, str):
                cell.encode("utf-8")
        return True

    return check


REPORT: Mapping[str, Check] = {
    "federation": _named,
    "instance_id": _named,
    "sequence": _between(0, 2**53),
    "identity_scheme": lambda content: content == "hmac-sha256-v1",
    "key_epoch": _between(0, 2**31 - 1),
    "signature_id": _column(str),
    "pattern_type": _column(str),
    "strength": _column(int, float),
    "resonance": _column(int, float),
    "epistemic_certainty": _column(int, float),
    "frequency": _column(int),
}

HEARTBEAT: Mapping[str, Check] = {
    "federation": _named,
    "instance_id": _named,
    "sequence": _between(0, 2**53),
    "total_requests": _between(0, 2**63 - 1),
    "pattern_count": _between(0, 2**63 - 1),
}
