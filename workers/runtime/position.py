"""The position record: the one truth about what a task has read. It lies beside the state."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import orjson

#: No state key starts with NUL: a table has a name.
POSITION_KEY = b"\0position"

#: A state is flushed when more input than so many times what the flush writes would be folded again by a
#: restore: the changelog then grows by at most a fifth of the input, and a restore reads at most six times
#: the state.
INPUT_PER_FLUSH = 5

#: … and once a day, so that what is folded again is not removed by the input's retention.
FLUSH_EVERY_MS = 86_400_000


@dataclass(frozen=True, slots=True)
class Position:
    """Where a task stands in its inputs."""

    #: Topic -> next offset to be read; everything before is in the outputs.
    next: Mapping[str, int]
    #: Topic -> next offset that the state in the changelog has not seen. Equals ``next`` if flushed.
    covered: Mapping[str, int]
    #: Bytes of input in [covered, next).
    input_bytes: int = 0
    #: When the state was flushed (Unix ms, broker time).
    flushed_ms: int = 0

    @property
    def flushed(self) -> bool:
        """Whether the state in the changelog has seen all that was read."""
        return self.next == self.covered

    def encode(self) -> bytes:
        """Return the record's value."""
        return orjson.dumps(
            {
                "next": dict(self.next),
                "covered": dict(self.covered),
                "input_bytes": self.input_bytes,
                "flushed_ms": self.flushed_ms,
            }
        )

    @classmethod
    def decode(cls, value: bytes) -> "Position":
        """Return the position of a record's value."""
        return cls(**orjson.loads(value))

    def read(self, offsets: Mapping[str, int], size: int) -> "Position":
        """Return the position behind some more input of ``size`` bytes, not flushed."""
        return Position({**self.next, **offsets}, self.covered, self.input_bytes + size, self.flushed_ms)

    def flush(self, now_ms: int) -> "Position":
        """Return this position as one whose state is in the changelog."""
        return Position(self.next, self.next, 0, now_ms)

    def flush_pays(self, changed_bytes: int) -> bool:
        """Return whether a flush that writes so many bytes costs little beside the input."""
        return self.input_bytes > INPUT_PER_FLUSH * changed_bytes

    @property
    def flush_deadline(self) -> int | None:
        """When the state must be flushed (Unix ms), or None if it is."""
        return None if self.flushed else self.flushed_ms + FLUSH_EVERY_MS

    def flush_is_due(self, now_ms: int) -> bool:
        """Return whether the state must be flushed now."""
        return self.flush_deadline is not None and now_ms >= self.flush_deadline


@dataclass(slots=True)
class Sizes:
    """Bytes that every state key takes in the changelog."""

    total: int = 0
    _of: dict[bytes, int] = field(default_factory=dict)

    def put(self, key: bytes, value: bytes | None) -> None:
        """Take one record of the changelog."""
        size = 0 if value is None else len(key) + len(value)
        self.total += size - self._of.pop(key, 0)
        if size:
            self._of[key] = size
