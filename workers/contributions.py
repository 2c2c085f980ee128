"""From judged reports to Contribution records: one (or as few as fit) per federation and bucket."""

from collections.abc import Iterator, Sequence
from itertools import compress
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from schemas import columns
from schemas.columns import MAX_PATTERN_TYPES, Rows
from schemas.event import MAX_PART_BYTES, MAX_PART_ROWS
from schemas.reports import Contribution, ContributionEntries

#: Bytes of JSON that a row takes in the six columns: 33 bytes of cells, in base64.
ROW_BYTES = 44

#: Bytes of JSON that an entry takes at most: two names of 64, a sequence, a count and a flag.
ENTRY_BYTES = 192

#: Bytes of JSON of the words (256 of 32) and of everything around the columns, padding included.
FRAME_BYTES = 10_000


class Entry(NamedTuple):
    """An instance whose contribution is replaced: by the rows of a report, or by nothing."""

    instance_id: str
    organisation: str
    sequence: int
    removed: bool = False


def contributions(
    federation: str,
    entries: Sequence[Entry],
    rows: Rows,
    entry: npt.NDArray[np.int64],
    words: Sequence[str],
    *,
    bucket_count: int,
) -> Iterator[tuple[int, Contribution]]:
    """Yield (bucket, contribution); every entry is in every bucket, also with no row.

    ``rows`` stand in the order of the entries; ``entry`` has of each row the index of its entry, and
    ``rows["pattern_type"]`` points at ``words``. No entry may use more than 256 of them.
    """
    bucket = columns.buckets(rows, bucket_count)
    order = np.argsort(bucket, kind="stable")
    rows = rows.take(order)  # a copy, in which the words may be numbered anew for each record
    counts = np.bincount(bucket * np.int64(len(entries)) + entry, minlength=bucket_count * len(entries))
    counts = counts.reshape(bucket_count, -1)
    start = 0
    for number, rows_of_entries in enumerate(counts.tolist()):
        end = start + sum(rows_of_entries)
        for part, first, last in _parts(rows[start:end], rows_of_entries):
            of = slice(first, last)
            yield number, _contribution(federation, entries[of], rows_of_entries[of], part, words)
        start = end


def _parts(rows: Rows, counts: Sequence[int]) -> Iterator[tuple[Rows, int, int]]:
    """Cut a bucket where a record would grow too large: yield rows, first entry, and behind the last."""
    many_words = np.count_nonzero(np.bincount(rows["pattern_type"])) > MAX_PATTERN_TYPES
    whole = FRAME_BYTES + len(counts) * ENTRY_BYTES + len(rows) * ROW_BYTES
    if whole <= MAX_PART_BYTES and len(counts) <= MAX_PART_ROWS and not many_words:
        yield rows, 0, len(counts)
        return
    first, start, end = 0, 0, 0
    size, used = FRAME_BYTES, set[int]()
    for index, count in enumerate(counts):
        types = set(rows["pattern_type"][end : end + count].tolist()) if many_words else set()
        cost = ENTRY_BYTES + count * ROW_BYTES
        full = size + cost > MAX_PART_BYTES or len(used | types) > MAX_PATTERN_TYPES
        if index > first and (full or index - first == MAX_PART_ROWS):
            yield rows[start:end], first, index
            first, start = index, end
            size, used = FRAME_BYTES, set()
        size += cost
        used |= types
        end += count
    yield rows[start:end], first, len(counts)


def _contribution(
    federation: str, entries: Sequence[Entry], counts: Sequence[int], rows: Rows, words: Sequence[str]
) -> Contribution:
    instance_id, organisation, sequence, removed = zip(*entries, strict=True)
    present = np.bincount(rows["pattern_type"], minlength=len(words)) > 0
    rows["pattern_type"] = (np.cumsum(present) - 1)[rows["pattern_type"]]
    return Contribution(
        federation=federation,
        entries=ContributionEntries(
            instance_id=instance_id,
            organisation=organisation,
            sequence=sequence,
            rows=tuple(counts),
            removed=removed,
        ),
        pattern_types=tuple(compress(words, present.tolist())),
        **columns.encode(rows),
    )
