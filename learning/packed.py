"""The columns of a report as bytes: packed one by one, while a report is still in the cache.

Lists of Python numbers cost five times as much once the next reports have displaced them.
"""

import re
import struct
from collections.abc import Sequence
from operator import itemgetter
from typing import NamedTuple, Protocol

from schemas.event import SIGNATURE_FORM, WORD_FORM

#: A report uses at most so many words; a row with a further one has a bad pattern type.
MAX_WORDS = 256

#: The code of a malformed word, or of one too many.
BAD_WORD = 2**16 - 1

#: Stands for any integer that no column of frequencies may hold.
_TOO_LARGE = 2**62

_ID = re.compile(SIGNATURE_FORM)
_ID_BYTES = 16
_NO_ID = "0" * 32
_WORD = re.compile(WORD_FORM)


class Report(Protocol):
    """The six columns of a report, all of the same length."""

    @property
    def signature_id(self) -> Sequence[str]:
        """Ids."""

    @property
    def pattern_type(self) -> Sequence[str]:
        """Words."""

    @property
    def strength(self) -> Sequence[float]:
        """In [0, 1]."""

    @property
    def resonance(self) -> Sequence[float]:
        """In [0, 1]."""

    @property
    def epistemic_certainty(self) -> Sequence[float]:
        """In [0, 1]."""

    @property
    def frequency(self) -> Sequence[int]:
        """Observations."""


class Packed(NamedTuple):
    """A report of ``rows`` rows; nothing of it is judged but the form of its ids and words."""

    rows: int
    #: 16 bytes a row; zeros for an id that is malformed …
    ids: bytes
    #: … which is what a 1 in this column of bytes says.
    malformed: bytes
    #: The well-formed words, at most ``MAX_WORDS``, in the order of first appearance …
    words: tuple[str, ...]
    #: … and of each row the index of its word, as uint16, or ``BAD_WORD``.
    codes: bytes
    #: float64.
    strength: bytes
    resonance: bytes
    certainty: bytes
    #: int64.
    frequency: bytes


def pack(report: Report) -> Packed:
    """Return the columns as bytes."""
    rows = len(report.signature_id)
    ids, malformed = _ids(report.signature_id)
    words, codes = _words(report.pattern_type)
    floats, integers = struct.Struct(f"{rows}d"), struct.Struct(f"{rows}q")
    try:
        frequency = integers.pack(*report.frequency)
    except struct.error:  # beyond 64 bits
        frequency = integers.pack(*(min(number, _TOO_LARGE) for number in report.frequency))
    return Packed(
        rows,
        ids,
        malformed,
        words,
        codes,
        floats.pack(*report.strength),
        floats.pack(*report.resonance),
        floats.pack(*report.epistemic_certainty),
        frequency,
    )


def _ids(ids: Sequence[str]) -> tuple[bytes, bytes]:
    binary = _unhex(ids)
    if binary is not None:
        return binary, bytes(len(ids))
    malformed = [_ID.fullmatch(one) is None for one in ids]
    kept = [_NO_ID if bad else one for one, bad in zip(ids, malformed, strict=True)]
    return bytes.fromhex("".join(kept)), bytes(malformed)


def _unhex(ids: Sequence[str]) -> bytes | None:
    """Return the ids, 16 bytes each, or None if one of them is malformed."""
    joined = " ".join(ids)
    try:
        binary = bytes.fromhex(joined)
    except ValueError:
        return None
    # fromhex takes upper case too, and blanks between any two bytes: written back, every id has 32 digits.
    well_formed = len(binary) == _ID_BYTES * len(ids) and binary.hex(" ", _ID_BYTES) == joined
    return binary if well_formed else None


def _words(column: Sequence[str]) -> tuple[tuple[str, ...], bytes]:
    distinct = dict.fromkeys(column)
    words = [word for word in distinct if _WORD.fullmatch(word) is not None][:MAX_WORDS]
    codes = dict.fromkeys(distinct, BAD_WORD) | {word: code for code, word in enumerate(words)}
    # The fastest way to look many keys up; of a single key it gives no tuple, so the first stands twice.
    found = itemgetter(*column[:1], *column)(codes)[1:] if column else ()
    return tuple(words), struct.pack(f"{len(column)}H", *found)
