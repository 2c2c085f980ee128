"""What the processes logged: the evidence that a fault had an effect."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Entry:
    """A line of a log; ``at_s`` is Unix time."""

    at_s: float
    victim: str
    event: str
    fields: Mapping[str, Any]

    @property
    def error(self) -> str:
        """The type of the exception that it tells of, or nothing."""
        told = self.fields.get("exception") or [{}]
        return str(told[0].get("exc_type", ""))


@dataclass(frozen=True)
class Journal:
    """The logs of all processes, by time."""

    entries: tuple[Entry, ...]

    @classmethod
    def read(cls, logs: Mapping[str, Path]) -> "Journal":
        """Read the logs; a line that a kill cut off is passed over, as is what is not ours."""
        found: list[Entry] = []
        for victim, path in logs.items():
            for line in path.read_text(errors="replace").splitlines() if path.exists() else ():
                try:
                    fields = json.loads(line)
                    at_s = datetime.fromisoformat(fields["timestamp"]).timestamp()
                except (ValueError, KeyError, TypeError):
                    continue
                found.append(Entry(at_s, victim, fields["event"], fields))
        return cls(tuple(sorted(found, key=lambda entry: entry.at_s)))

    def during(self, from_s: float, to_s: float, event: str = "", worker: str = "") -> Iterator[Entry]:
        """Yield the entries of a time, of an event, of a worker."""
        for entry in self.entries:
            named = event in {"", entry.event} and worker in {"", entry.fields.get("worker")}
            if named and from_s <= entry.at_s <= to_s:
                yield entry

    def count(self, event: str, error: str = "") -> int:
        """Return how many entries there are of an event, of an error."""
        return sum(event == entry.event and error in {"", entry.error} for entry in self.entries)
