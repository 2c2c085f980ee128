"""What an aggregation worker keeps of its bucket: named and newer contributions, and what was released."""

import struct
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from schemas.aggregation import RoundBarrier
from schemas.columns import ROW, Rows
from schemas.reports import Contribution
from workers.fold import State, Table
from workers.handover import Parts

#: A row points at its word with 16 bits.
MAX_WORDS = 1 << 16

_HEAD = struct.Struct("<Q?")


class Held(NamedTuple):
    """What an instance contributes to this bucket with one report."""

    sequence: int
    #: The instance was deregistered with this sequence; there are no rows.
    removed: bool
    #: Packed rows of the mathematics' dtype; the pattern types point at the federation's words.
    rows: bytes

    def encode(self) -> bytes:
        """Return it as it stands in the changelog."""
        return _HEAD.pack(self.sequence, self.removed) + self.rows

    @classmethod
    def decode(cls, value: bytes) -> "Held":
        """Read what ``encode`` wrote."""
        sequence, removed = _HEAD.unpack_from(value)
        return cls(sequence, removed, value[_HEAD.size :])


class AggregationState(State):
    """One bucket of every federation."""

    def __init__(self) -> None:
        self.barriers = Parts(RoundBarrier)
        #: instance_id -> the contribution that the last barrier named.
        self.named: Table[Held] = Table("named", Held, encode=Held.encode, decode=Held.decode)
        #: instance_id/sequence/removed -> what no barrier has named yet.
        self.newer: Table[Held] = Table("newer", Held, encode=Held.encode, decode=Held.decode)
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
        known, waiting = self.named.of(federation), self.newer.of(federation)
        fresh: dict[str, Held] = {}
        for instance, sequence, count, removed in zip(
            entries.instance_id, entries.sequence, entries.rows, entries.removed, strict=True
        ):
            start, end = end, end + count * ROW.itemsize
            named = known.get(instance)
            if named is not None and named.sequence >= sequence and not removed:
                continue
            key = newer_key(instance, sequence, removed=removed)
            if key not in waiting and key not in fresh:
                fresh[key] = Held(sequence, removed, packed[start:end])
        self.newer.update(federation, fresh)
        return bool(fresh)

    def _codes(self, federation: str, words: Sequence[str]) -> np.ndarray:
        known = self.words.get(federation) or {}
        following = with_words(known, words)
        if following is not known:
            self.words.put(federation, "", following)
        return codes_of(following, words)

    def cut(self, federation: str, sequences: dict[str, int]) -> None:
        """Make the named contributions those of a barrier, and drop what no later barrier can name."""
        last_removed: dict[str, int] = {}
        for key, held in list(self.newer.of(federation).items()):
            instance = key.split("/", 1)[0]
            sequence = sequences.get(instance)
            if sequence is None:
                # One that no barrier has named yet may be younger than this barrier's collection, and the
                # next one may name it. Named before and not now: the collection knows that it left.
                if held.removed and self.named.get(federation, instance) is not None:
                    last_removed[instance] = max(held.sequence, last_removed.get(instance, 0))
            elif held.sequence == sequence and not held.removed:
                self.named.put(federation, instance, held)
                self.newer.delete(federation, key)
            elif held.sequence < sequence:
                self.newer.delete(federation, key)
        if last_removed:
            self._remove(federation, last_removed)

    def _remove(self, federation: str, last_removed: dict[str, int]) -> None:
        """Drop everything of these instances up to the sequence of their last removal."""
        for key, held in list(self.newer.of(federation).items()):
            if held.sequence <= last_removed.get(key.split("/", 1)[0], -1):
                self.newer.delete(federation, key)
        for instance, upto in last_removed.items():
            named = self.named.get(federation, instance)
            if named is not None and named.sequence <= upto:
                self.named.delete(federation, instance)


def newer_key(instance_id: str, sequence: int, *, removed: bool) -> str:
    """Return the key of a contribution that no barrier has named; a removal has its report's sequence."""
    return f"{instance_id}/{sequence:016d}/{removed:d}"


def with_words(known: dict[str, int], words: Sequence[str]) -> dict[str, int]:
    """Return the codes with those of new words behind them, as far as there is room."""
    new = [word for word in words if word not in known][: MAX_WORDS - len(known)]
    return known | {word: code for code, word in enumerate(new, start=len(known))} if new else known


def codes_of(known: Mapping[str, int], words: Sequence[str]) -> np.ndarray:
    """Return the code of each word, at least one, as an index for rows that point at ``words``."""
    # Beyond the last code words are not told apart: no honest federation has so many.
    return np.array([known.get(word, MAX_WORDS - 1) for word in words] or [0], dtype=np.uint16)
