"""What an aggregation worker keeps of its bucket: named and newer contributions, and what was released."""

import struct
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import NamedTuple

import numpy as np

from schemas.aggregation import RoundBarrier
from schemas.columns import ROW, Rows
from schemas.reports import Contribution
from workers.fold import State, Table
from workers.handover import Parts

#: A row points at its word with 16 bits.
MAX_WORDS = 1 << 16

#: Sequence, whether it is a removal, bytes of the rows that follow.
_HEAD = struct.Struct("<Q?I")


class Held(NamedTuple):
    """What an instance contributes to this bucket with one report."""

    sequence: int
    #: The instance was deregistered with this sequence; there are no rows.
    removed: bool
    #: Packed rows of the mathematics' dtype; the pattern types point at the federation's words.
    rows: bytes


def encode(several: Sequence[Held]) -> bytes:
    """Return contributions as they stand in the changelog."""
    return b"".join([_HEAD.pack(one.sequence, one.removed, len(one.rows)) + one.rows for one in several])


def decode(value: bytes) -> tuple[Held, ...]:
    """Read what ``encode`` wrote."""
    several, end = [], 0
    while end < len(value):
        sequence, removed, size = _HEAD.unpack_from(value, end)
        start = end + _HEAD.size
        end = start + size
        several.append(Held(sequence, removed, value[start:end]))
    return tuple(several)


class AggregationState(State):
    """One bucket of every federation."""

    def __init__(self) -> None:
        self.barriers = Parts(RoundBarrier)
        #: instance_id -> the contribution that the last barrier named.
        self.named: Table[Held] = Table(
            "named", Held, encode=lambda held: encode([held]), decode=lambda value: decode(value)[0]
        )
        #: instance_id -> what no barrier has named yet, in the order in which it came.
        self.newer: Table[tuple[Held, ...]] = Table("newer", tuple[Held, ...], encode=encode, decode=decode)
        #: The words that pattern types point at, with their codes, which are dense and in order.
        self.words: Table[dict[str, int]] = Table("words", dict[str, int])
        #: signature_id -> what of it is known publicly; empty: it was released once and is withdrawn.
        self.released: Table[tuple[str | int | float, ...]] = Table("released", tuple[str | int | float, ...])
        super().__init__(*self.barriers.tables(), self.named, self.newer, self.words, self.released)

    def take(self, contribution: Contribution, rows: Rows) -> bool:
        """Keep what a contribution brings until a barrier names it; False: all of it is known."""
        federation, entries = contribution.federation, contribution.entries
        rows["pattern_type"] = self._codes(federation, contribution.pattern_types)[rows["pattern_type"]]
        packed, end = rows.tobytes(), 0
        named, newer = self.named.of(federation), self.newer.of(federation)
        fresh: dict[str, tuple[Held, ...]] = {}
        for instance, sequence, count, removed in zip(
            entries.instance_id, entries.sequence, entries.rows, entries.removed, strict=True
        ):
            start, end = end, end + count * ROW.itemsize
            last = named.get(instance)
            if last is not None and last.sequence >= sequence and not removed:
                continue
            waiting = fresh.get(instance) or newer.get(instance, ())
            if removed and (waiting[-1].removed if waiting else last is None):
                continue  # there is nothing that it would remove
            # Sequences never fall: what is above the last of them is new.
            known = waiting and waiting[-1].sequence >= sequence
            if known and any(one[:2] == (sequence, removed) for one in waiting):
                continue
            fresh[instance] = (*waiting, Held._make((sequence, removed, packed[start:end])))
        self.newer.update(federation, fresh)
        return bool(fresh)

    def _codes(self, federation: str, words: Sequence[str]) -> np.ndarray:
        known = self.words.get(federation) or {}
        following = with_words(known, words)
        if following is not known:
            self.words.put(federation, "", following)
        return codes_of(following, words)

    def cut(self, federation: str, sequences: Mapping[str, int]) -> None:
        """Make the named contributions those of a barrier, and drop what no later barrier can name."""
        found: dict[str, Held] = {}
        left: list[str] = []
        spent: list[str] = []
        kept: dict[str, tuple[Held, ...]] = {}
        named, newer = self.named.of(federation), self.newer.of(federation)
        for instance, waiting in newer.items():
            sequence = sequences.get(instance)
            if sequence is not None:
                last = waiting[-1]
                if last.sequence == sequence and not last.removed:
                    found[instance] = last
                    spent.append(instance)  # as nearly always: nothing is newer
                    continue
                upto = (sequence, False)
                for one in waiting:
                    if one[:2] == upto:
                        found[instance] = one
            elif (before := named.get(instance)) is not None:
                # Named before and not now: the collection knows that it left. What it brought once it was
                # back may still be named, even if it has left again.
                upto = next((one[:2] for one in waiting if one.removed), (-1, True))
                if before[:2] <= upto:
                    left.append(instance)
            else:
                # It may be younger than this barrier's collection, and the next one may name it.
                continue
            kept[instance] = tuple([one for one in waiting if one[:2] > upto])
        self.named.update(federation, found)
        self.named.remove(federation, left)
        changed = {key: some for key, some in kept.items() if len(some) < len(newer[key])}
        self.newer.update(federation, {key: some for key, some in changed.items() if some})
        self.newer.remove(federation, chain(spent, [key for key, some in changed.items() if not some]))


def with_words(known: dict[str, int], words: Sequence[str]) -> dict[str, int]:
    """Return the codes with those of new words behind them, as far as there is room."""
    new = [word for word in words if word not in known][: MAX_WORDS - len(known)]
    return known | {word: code for code, word in enumerate(new, start=len(known))} if new else known


def codes_of(known: Mapping[str, int], words: Sequence[str]) -> np.ndarray:
    """Return the code of each word, at least one, as an index for rows that point at ``words``."""
    # Beyond the last code words are not told apart: no honest federation has so many.
    return np.array([known.get(word, MAX_WORDS - 1) for word in words] or [0], dtype=np.uint16)
