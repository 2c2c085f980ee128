"""Every report judged once more: its accounting, its dead letter, and the rows that were taken of it.

Which registration a report was judged by is recorded in its Admission, and taken as given.
"""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import floor

from convergence.replay import senders
from convergence.replay.exact import ONE
from convergence.replay.findings import Comparison, Difference, DifferentError
from convergence.replay.log import Log, Record, Stands
from convergence.replay.reference import Row
from convergence.replay.registrations import Registration, Registrations
from convergence.replay.rules import Rules
from convergence.replay.senders import Address, Said, Sent
from schemas.reasons import Reason, RowReason
from schemas.reports import Admission, PatternReport, Position

#: A report uses at most so many words.
MAX_WORDS = 256

MAX_FREQUENCY = 2**31 - 1

MINUTE_MS = 60_000

_TYPES = (PatternReport,)
_ID = re.compile(r"[0-9a-f]{32}")
_WORD = re.compile(r"[a-z][a-z0-9_-]{0,31}")


@dataclass(frozen=True)
class Taken:
    """What the federation took of an admitted report: its rows by signature, in the report's order."""

    organisation: str
    rows: Mapping[str, Row]
    admitted_ms: int


@dataclass(frozen=True)
class Last:
    """The last report of an instance that was judged."""

    sequence: int
    refused: bool
    #: A minute of broker time, and what was judged in it.
    minute: int
    reports: int
    size: int


@dataclass
class Reports:
    """The reports of all instances, judged."""

    #: Address -> sequence -> what was taken.
    taken: dict[Address, dict[int, Taken]] = field(default_factory=dict)
    #: Address -> (sequence, outcome) of every report that was answered and is neither duplicate nor stale.
    judged: dict[Address, list[Admission]] = field(default_factory=dict)
    #: (partition, offset) -> why the record was refused.
    refused: dict[tuple[int, int], Reason] = field(default_factory=dict)
    #: (partition, offset) -> the reasons that it may have been refused for, depending on the registration.
    undecided: dict[tuple[int, int], set[Reason | None]] = field(default_factory=dict)
    #: Address -> the last report that was judged, and the pace of the instance.
    last: dict[Address, Last] = field(default_factory=dict)
    #: Reports at the end of the log that no worker has answered yet.
    waiting: int = 0


@dataclass
class Judgement:
    """Judges the reports of a log, partition by partition, in their order."""

    log: Log
    rules: Rules
    registrations: Registrations
    #: Partition -> offset of the last report that has a dead letter.
    lettered: Mapping[int, int]
    #: What is found goes here, so that it is there even if something differs later.
    found: Reports
    _known_from: dict[Address, int] = field(default_factory=dict)

    def run(self, comparison: Comparison) -> None:
        """Judge every report; raises DifferentError."""
        admissions: dict[tuple[int, int], Stands[Admission]] = {}
        for stands in self.log.events(Admission):
            at = stands.event.position
            where = (at.partition, at.offset)
            comparison.values(f"{stands}.position.topic", at.topic, PatternReport.topic)
            comparison.values(f"{stands}.position.partition", at.partition, stands.record.partition)
            if where in admissions:
                raise DifferentError(Difference(f"{stands}.position: admitted before", at.offset, None))
            admissions[where] = stands
        answered = self._answered(admissions)
        for record in self.log.of(PatternReport.topic):
            where = (record.partition, record.offset)
            if record.offset > answered.get(record.partition, -1):
                self.found.waiting += 1
                continue
            self._judge(record, admissions.pop(where, None), comparison)
        for (partition, offset), stands in admissions.items():
            event = stands.event
            if offset >= self.log.start(PatternReport.topic, partition):
                raise DifferentError(Difference(f"{stands}: there is no such report", offset, None))
            # The report is gone: what was said of it stands for it.
            self.found.judged.setdefault((event.federation, event.instance_id), []).append(event)

    def _answered(self, admissions: Mapping[tuple[int, int], object]) -> dict[int, int]:
        """Return the offset of the last report of each partition that was answered."""
        answered = dict(self.lettered)
        for partition, offset in admissions:
            answered[partition] = max(offset, answered.get(partition, -1))
        return answered

    def _judge(self, record: Record, stands: Stands[Admission] | None, comparison: Comparison) -> None:
        where = f"{record.topic}/{record.partition}/{record.offset}"
        sent = senders.sent(record, _TYPES, self.log.partitions)
        if isinstance(sent, Reason) or stands is None:
            recorded = None if stands is None else str(stands)
            comparison.values(f"{where}: an admission", recorded, None)
            if isinstance(sent, Reason):
                self.found.refused[record.partition, record.offset] = sent
            else:
                self.found.undecided[record.partition, record.offset] = self._unauthenticated(sent)
            return
        registration = self._registration(sent, stands, comparison)
        said = senders.said(sent, _TYPES, self.rules)
        expected, rows, refusal = self._answer(sent, said, registration, stands.event)
        comparison.events(str(stands), stands.event, expected)
        if refusal is not None:
            self.found.refused[record.partition, record.offset] = refusal
        if expected.outcome not in {"duplicate", "stale"}:
            self.found.judged.setdefault(sent.address, []).append(expected)
        if expected.outcome == "admitted" and expected.sequence is not None:
            self.found.taken.setdefault(sent.address, {})[expected.sequence] = Taken(
                registration.registered.organisation, rows, stands.record.append_ms
            )

    def _unauthenticated(self, sent: Sent) -> set[Reason | None]:
        """Return why a report that was not admitted may have been refused."""
        if not sent.signed():
            reasons = {reason or Reason.BAD_SIGNATURE for reason in self.registrations.refusals(sent)}
            return set(reasons)
        return {reason for reason in self.registrations.refusals(sent) if reason is not None}

    def _registration(self, sent: Sent, stands: Stands[Admission], comparison: Comparison) -> Registration:
        """Return the registration that a report was judged by; raises DifferentError if it cannot be so."""
        offset = stands.event.registration_offset
        history = self.registrations.of(sent.address)
        named = next((one for one in history if one.offset == offset and not one.left), None)
        where = f"{stands}.registration_offset"
        if named is None or offset < self._known_from.get(sent.address, 0):
            raise DifferentError(Difference(where, offset, history[-1].offset if history else None))
        self._known_from[sent.address] = offset
        refusal = named.refusal(sent.key_id, sent.record.append_ms)
        if refusal is None and not sent.signed():
            refusal = Reason.BAD_SIGNATURE
        comparison.values(f"{stands}: an admission", None if refusal is None else "judged", refusal)
        return named

    def _answer(
        self, sent: Sent, said: Said, registration: Registration, recorded: Admission
    ) -> tuple[Admission, Mapping[str, Row], Reason | None]:
        """Return the admission, the rows that were taken, and why the report was refused as a whole."""
        outcome, refusal = self._outcome(sent, said, recorded)
        received, rows, rejected = 0, dict[str, Row](), Counter[RowReason]()
        if outcome == "admitted" and isinstance(said.event, PatternReport):
            received = len(said.event.signature_id)
            rows, rejected = judged_rows(said.event, self.rules)
        registered, record = registration.registered, sent.record
        admission = Admission(
            federation=registered.federation,
            instance_id=registered.instance_id,
            sequence=said.sequence,
            received=received,
            accepted=len(rows),
            rejected=dict(rejected),
            outcome=outcome,
            position=Position(topic=record.topic, partition=record.partition, offset=record.offset),
            registration_offset=registration.offset,
        )
        return admission, rows, refusal

    def _outcome(self, sent: Sent, said: Said, recorded: Admission) -> tuple[str, Reason | None]:
        """Return what became of a report, by its sequence, what it says, and the pace of the instance."""
        sequence, reason, last = said.sequence, said.reason, self.found.last.get(sent.address)
        if (
            last is None
            and self.log.is_cut(PatternReport.topic)
            and recorded.outcome in {"duplicate", "stale"}
        ):
            return recorded.outcome, None  # what was judged before is gone
        if sequence is not None and last is not None and sequence <= last.sequence:
            same = sequence == last.sequence
            if not (same and last.refused and reason is None and senders.redriven(sent.record)):
                return ("duplicate" if same else "stale"), None
        minute, reports, size = sent.record.append_ms // MINUTE_MS, 1, len(sent.value)
        if last is not None and last.minute == minute:
            reports, size = last.reports + 1, last.size + size
        too_many = reports > self.rules.max_reports_a_minute
        if reason is None and (too_many or size > self.rules.max_report_bytes_a_minute):
            reason = Reason.RATE_LIMITED
        # One of the far future would shut out everything that is sent until then.
        if sequence is not None and reason is not Reason.TOO_EARLY:
            self.found.last[sent.address] = Last(sequence, reason is not None, minute, reports, size)
        return ("admitted", None) if reason is None else (f"refused:{reason}", reason)


def judged_rows(report: PatternReport, rules: Rules) -> tuple[dict[str, Row], Counter[RowReason]]:
    """Return the rows that pass, and how many do not, by the first reason that applies."""
    words = [word for word in dict.fromkeys(report.pattern_type) if _WORD.fullmatch(word)][:MAX_WORDS]
    rows: dict[str, Row] = {}
    rejected: Counter[RowReason] = Counter()
    seen: set[str] = set()
    for signature, word, *numbers, frequency in zip(
        report.signature_id,
        report.pattern_type,
        report.strength,
        report.resonance,
        report.epistemic_certainty,
        report.frequency,
        strict=True,
    ):
        reason: RowReason | None
        if not _ID.fullmatch(signature):
            reason = RowReason.BAD_SIGNATURE_ID
        elif word not in words:
            reason = RowReason.BAD_PATTERN_TYPE
        elif not all(0 <= number <= 1 for number in numbers) or not 1 <= frequency <= MAX_FREQUENCY:
            reason = RowReason.OUT_OF_RANGE
        elif signature in seen:
            reason = RowReason.DUPLICATE_SIGNATURE
        else:
            reason = _too_weak(micro(numbers[0]), micro(numbers[2]), rules)
        seen.add(signature)
        if reason is None:
            strength, resonance, certainty = map(micro, numbers)
            rows[signature] = (word, strength, resonance, certainty, frequency)
        else:
            rejected[reason] += 1
    return rows, rejected


def _too_weak(strength: int, certainty: int, rules: Rules) -> RowReason | None:
    if certainty < rules.min_certainty:
        return RowReason.LOW_CERTAINTY
    return RowReason.LOW_QUALITY if strength + certainty < 2 * rules.min_quality else None


def micro(value: float) -> int:
    """Return a number as it enters the system: floor(x * 1e6 + 0.5) in double precision."""
    return floor(float(value) * ONE + 0.5)
