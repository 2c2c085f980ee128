"""What stands in the buckets, read without numpy, and held against what was admitted."""

import base64
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from convergence.replay.findings import Comparison, Difference, DifferentError
from convergence.replay.log import Log, Stands
from convergence.replay.reference import Row
from convergence.replay.registrations import Registrations
from convergence.replay.reports import Reports
from convergence.replay.senders import Address
from schemas.partitioning import bucket
from schemas.reports import Contribution, PatternReport

_ID_BYTES = 16


@dataclass(frozen=True)
class Held:
    """What one entry of a contribution holds, and where it stands."""

    organisation: str
    sequence: int
    removed: bool
    rows: Mapping[str, Row]
    offset: int
    name: str


@dataclass
class Contributions:
    """Bucket -> address -> what it contributed, in the order of the log."""

    buckets: dict[int, dict[Address, list[Held]]] = field(default_factory=dict)

    def named(self, number: int, address: Address, sequence: int, before: int) -> Held | None:
        """Return the contribution of that sequence in front of an offset, or None."""
        held = self.buckets.get(number, {}).get(address, ())
        return next(
            (one for one in held if one.sequence == sequence and not one.removed and one.offset < before),
            None,
        )


def read(log: Log, reports: Reports, found: Contributions) -> None:
    """Read what stands in the buckets, but for what is damaged: the workers refuse it."""
    for stands in log.events(Contribution):
        by_address = found.buckets.setdefault(stands.record.partition, {})
        for address, held in entries_of(stands) or ():
            taken = reports.taken.get(address, {}).get(held.sequence)
            one = held if taken is None else replace(held, rows=_shared(held.rows, taken.rows))
            by_address.setdefault(address, []).append(one)


def _shared(rows: Mapping[str, Row], taken: Mapping[str, Row]) -> Mapping[str, Row]:
    """Return the rows; if they are those of the report, as its own objects: so they are in memory once."""
    same = {signature: row for signature, row in taken.items() if signature in rows}
    return same if list(same.items()) == list(rows.items()) else rows


def entries_of(stands: Stands[Contribution]) -> list[tuple[Address, Held]] | None:
    """Return the entries of a contribution, or None if its columns are damaged."""
    try:
        return list(_entries(stands))
    except (ValueError, struct.error, IndexError):
        return None


def _entries(stands: Stands[Contribution]) -> Iterator[tuple[Address, Held]]:
    event, entries = stands.event, stands.event.entries
    ids = base64.b64decode(event.signature_id, validate=True)
    count = sum(entries.rows)
    signatures = [ids[at : at + _ID_BYTES].hex() for at in range(0, len(ids), _ID_BYTES)]
    words = [event.pattern_types[code] for code in base64.b64decode(event.pattern_type, validate=True)]
    columns = [
        struct.unpack(f"<{count}i", base64.b64decode(column, validate=True))
        for column in (event.strength, event.resonance, event.epistemic_certainty, event.frequency)
    ]
    rows = list(zip(signatures, words, *columns, strict=True))
    end = 0
    for instance, organisation, sequence, size, removed in zip(
        entries.instance_id,
        entries.organisation,
        entries.sequence,
        entries.rows,
        entries.removed,
        strict=True,
    ):
        start, end = end, end + size
        own: dict[str, Row] = {
            signature: (word, strength, resonance, certainty, frequency)
            for signature, word, strength, resonance, certainty, frequency in rows[start:end]
        }
        if len(own) != size:
            raise ValueError("a signature stands twice")
        yield (
            (event.federation, instance),
            Held(organisation, sequence, removed, own, stands.record.offset, str(stands)),
        )
    if end != len(rows):
        raise ValueError("more rows than the entries have")


@dataclass(frozen=True)
class Examination:
    """Holds the buckets against what was admitted and who left."""

    log: Log
    found: Contributions
    reports: Reports
    registrations: Registrations
    comparison: Comparison

    def run(self) -> None:
        """Look at every instance in every bucket; raises DifferentError."""
        for number in range(self.log.partitions.get(Contribution.topic, 0)):
            here = self.found.buckets.get(number, {})
            for address in sorted(
                self.reports.taken.keys() | here.keys() | self.registrations.history.keys()
            ):
                self._reports(number, address, here.get(address, []))
                self._departures(number, address, here.get(address, []))

    def _reports(self, number: int, address: Address, held: list[Held]) -> None:
        name = "/".join(address)
        taken = self.reports.taken.get(address, {})
        replaced: set[int] = set()
        last = -1
        for one in held:
            if one.removed:
                continue
            what = f"{one.name}: report {one.sequence} of {name}"
            if one.sequence not in taken:
                if self.log.is_cut(PatternReport.topic):
                    continue
                raise DifferentError(Difference(what, one.sequence, None))
            report = taken[one.sequence]
            own = {
                signature: row
                for signature, row in report.rows.items()
                if bucket(signature, self.log.partitions[Contribution.topic]) == number
            }
            self.comparison.values(f"{what}: the organisation", one.organisation, report.organisation)
            self.comparison.values(what, one.rows, own)
            self.comparison.values(f"{what}: the order of rows", list(one.rows), list(own))
            if one.sequence <= last:
                raise DifferentError(Difference(f"{what} stands again, or too late", one.sequence, None))
            replaced.add(one.sequence)
            last = one.sequence
        if self.log.start(Contribution.topic, number) > 0:
            return
        for sequence, report in taken.items():
            if sequence not in replaced and report.admitted_ms <= self.log.settled_ms:
                raise DifferentError(
                    Difference(f"report {sequence} of {name} in bucket {number}", None, sequence)
                )

    def _departures(self, number: int, address: Address, held: list[Held]) -> None:
        """Every departure is in the bucket once, with a sequence that was the last judged one."""
        name = "/".join(address)
        removed = [one for one in held if one.removed]
        left_ms = [one.append_ms for one in self.registrations.of(address) if one.left]
        settled = sum(append_ms <= self.log.settled_ms for append_ms in left_ms)
        if self.log.start(Contribution.topic, number) > 0:
            settled = 0
        if not settled <= len(removed) <= len(left_ms):
            where = removed[-1].name if len(removed) > len(left_ms) else f"bucket {number}"
            raise DifferentError(Difference(f"{where}: departures of {name}", len(removed), len(left_ms)))
        judged = {each.sequence for each in self.reports.judged.get(address, [])} | {0}
        last = 0
        for one in held:
            where = f"{one.name}: the sequence of {name}"
            if one.sequence < last:
                raise DifferentError(Difference(f"{where}, after {last}", one.sequence, None))
            if one.removed and one.sequence not in judged and not self.log.is_cut(PatternReport.topic):
                raise DifferentError(Difference(f"{where}, which was not judged", one.sequence, None))
            last = one.sequence
