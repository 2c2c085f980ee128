"""The columns of a Contribution: rows in micro-units as little-endian bytes in base64, and back."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pybase64

from schemas.reports import Contribution

#: One row. V16 because a scalar of S16 would lose trailing zero bytes. Numbers but frequency are micro-units.
#: An index in brackets moves it field by field, take and compress all at once: 20 times as fast.
ROW = np.dtype(
    [
        ("signature", "V16"),
        ("strength", "<i4"),
        ("resonance", "<i4"),
        ("certainty", "<i4"),
        ("frequency", "<i4"),
        ("pattern_type", "<u2"),
    ]
)

Rows = npt.NDArray[np.void]

#: A contribution has at most so many words: a row points at its word with one byte.
MAX_PATTERN_TYPES = 256

#: Field of a row -> (column of the contribution, type of its cells).
_COLUMNS = {
    "signature": ("signature_id", "V16"),
    "pattern_type": ("pattern_type", "u1"),
    "strength": ("strength", "<i4"),
    "resonance": ("resonance", "<i4"),
    "certainty": ("epistemic_certainty", "<i4"),
    "frequency": ("frequency", "<i4"),
}


def encode(rows: Rows) -> dict[str, str]:
    """Return the six columns of a Contribution; ``pattern_type`` of each row is below 256."""
    return {
        column: pybase64.b64encode(rows[field].astype(kind).tobytes()).decode("ascii")
        for field, (column, kind) in _COLUMNS.items()
    }


def decode(contribution: Contribution) -> Rows:
    """Return the rows of all entries, one after the other; ``pattern_type`` points at ``pattern_types``.

    Raises ValueError if a column is not as long as the entries say, or a type points at no word.
    """
    count = sum(contribution.entries.rows)
    columns = {
        field: np.frombuffer(pybase64.b64decode(getattr(contribution, column), validate=True), kind)
        for field, (column, kind) in _COLUMNS.items()
    }
    for field, cells in columns.items():
        if len(cells) != count:
            raise ValueError(f"the column {field} has {len(cells)} rows, the entries have {count}")
    rows = np.empty(count, ROW)
    for field, cells in columns.items():
        rows[field] = cells
    if count and int(rows["pattern_type"].max()) >= len(contribution.pattern_types):
        raise ValueError("a pattern type points at no word")
    return rows


def signature_ids(rows: Rows) -> list[str]:
    """Return the signatures as 32 hex digits each."""
    joined = rows["signature"].tobytes().hex()
    return [joined[start : start + 32] for start in range(0, len(joined), 32)]


def buckets(rows: Rows, count: int) -> npt.NDArray[np.uint8]:
    """Return the bucket of each row, as ``partitioning.bucket`` has it; ``count`` is at most 16."""
    heads = np.frombuffer(rows["signature"].tobytes(), ">u4")[::4]
    return (heads % count).astype(np.uint8)


def readable(contribution: Contribution) -> Iterator[dict[str, Any]]:
    """Yield each entry with its rows spelled out, for people: values in [0, 1], words and hex digits."""
    rows = decode(contribution)
    ids = signature_ids(rows)
    entries = contribution.entries
    start = 0
    for position, count in enumerate(entries.rows):
        end = start + count
        yield {
            "federation": contribution.federation,
            "instance_id": entries.instance_id[position],
            "organisation": entries.organisation[position],
            "sequence": entries.sequence[position],
            "removed": entries.removed[position],
            "rows": _spelled(ids[start:end], rows[start:end], contribution.pattern_types),
        }
        start = end


def _spelled(ids: Sequence[str], rows: Rows, words: Sequence[str]) -> list[dict[str, Any]]:
    return [
        {
            "signature_id": signature_id,
            "pattern_type": words[row["pattern_type"]],
            "strength": int(row["strength"]) / 1e6,
            "resonance": int(row["resonance"]) / 1e6,
            "epistemic_certainty": int(row["certainty"]) / 1e6,
            "frequency": int(row["frequency"]),
        }
        for signature_id, row in zip(ids, rows, strict=True)
    ]
