"""The privacy worker: of what instances report, it lets pass what is signed, well formed and good enough.

Every authenticated report is answered with an Admission; what was accepted goes to every bucket as a
Contribution, in the same transaction. A whole fetched batch is judged at once, as columns.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from learning import admission
from learning.admission import Verdict
from learning.packed import Packed, pack
from schemas.instances import InstanceRegistered
from schemas.partitioning import key_partition
from schemas.reasons import Reason
from schemas.reports import Admission, Contribution, PatternReport, Position
from workers import dead_letters, inbound, registry
from workers.contributions import Entry, contributions
from workers.fold import Context, Emit, Outcome, Record, State, Step, Table, Worker
from workers.inbound import Opened, Refusal, Signed
from workers.registry import Change, Registration

_MINUTE_MS = 60_000
_TYPES = (PatternReport,)


@dataclass(frozen=True, slots=True)
class Judged:
    """The last judged report of an instance, and its pace: in one row, so a restart forgets neither."""

    sequence: int
    #: It was refused: redriven by the operator, the same report may still be admitted.
    refused: bool
    #: A minute of broker time, and the reports and bytes that were judged in it.
    minute: int
    reports: int
    size: int


class PrivacyState(State):
    """Registrations, and of each instance what was judged last, which outlives its registration."""

    def __init__(self) -> None:
        self.registrations = registry.registrations()
        self.judged: Table[Judged] = Table("judged", Judged)
        super().__init__(self.registrations, self.judged)


@dataclass(frozen=True, slots=True)
class _Answer:
    """An authenticated report that gets an Admission; ``report`` is None if it is not admitted."""

    record: Record
    registration: Registration
    outcome: str
    sequence: int | None
    report: Packed | None = None


class Privacy(Worker[PrivacyState]):
    """Reports and registrations in; admissions, contributions and dead letters out."""

    name: ClassVar[str] = "privacy"
    inputs: ClassVar[tuple[str, ...]] = (InstanceRegistered.topic, PatternReport.topic)
    outputs: ClassVar[tuple[str, ...]] = (Admission.topic, Contribution.topic)
    first: ClassVar[tuple[str, ...]] = (InstanceRegistered.topic,)

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._thresholds = admission.thresholds(
            self.settings.min_epistemic_certainty, self.settings.pattern_quality_threshold
        )

    def state(self) -> PrivacyState:
        """Return the empty state."""
        return PrivacyState()

    def step(self, state: PrivacyState, records: Sequence[Record]) -> Step:
        """Fold a batch: its registrations first, then all its reports together."""
        step = Step()
        removed: list[tuple[str, Entry]] = []
        for record in records:
            if record.topic == InstanceRegistered.topic:
                removed.extend(self._register(state, record, step))
        reports = [record for record in records if record.topic == PatternReport.topic]
        answers = self._answers(state, reports, step)
        verdict = admission.judge([answer.report for answer in answers if answer.report], self._thresholds)
        self._admissions(answers, verdict, step)
        if records:
            self._contribute(removed, [answer for answer in answers if answer.report], verdict, records, step)
        return step

    def _register(self, state: PrivacyState, record: Record, step: Step) -> list[tuple[str, Entry]]:
        change = registry.register(state.registrations, record, self.context)
        if isinstance(change, Refusal):
            self._refuse(record, change, step)
            return []
        outcome = Outcome.ACCEPTED if isinstance(change, Change) else change
        step.handled[record.topic, outcome] += 1
        if not isinstance(change, Change) or not change.after.deregistered:
            return []
        organisation = change.after.registered.organisation
        last = state.judged.get(change.federation, change.instance_id)
        sequence = 0 if last is None else last.sequence
        return [(change.federation, Entry(change.instance_id, organisation, sequence, removed=True))]

    def _answers(self, state: PrivacyState, records: Sequence[Record], step: Step) -> list[_Answer]:
        authority = registry.key_of_instance(state.registrations)
        identified = [inbound.identify(record, _TYPES, authority, self.context) for record in records]
        verified = iter(inbound.verify(one for one in identified if isinstance(one, Signed)))
        answers = []
        for record, one in zip(records, identified, strict=True):
            if isinstance(one, Refusal):
                self._refuse(record, one, step)
                continue
            opened = inbound.read(one, _TYPES, self.context, verified=next(verified))
            if isinstance(opened, Refusal) and not opened.authenticated:
                self._refuse(record, opened, step)
                continue
            answers.append(self._answer(state, one, opened, step))
        return answers

    def _answer(
        self, state: PrivacyState, signed: Signed, opened: Opened[PatternReport] | Refusal, step: Step
    ) -> _Answer:
        """Apply the rule of the sequence and settle what becomes of an authenticated report as a whole."""
        record, address = signed.record, signed.address
        registration = registry.standing(state.registrations, address)
        if registration is None:
            raise LookupError(f"{address} signed without a registration")
        federation, instance_id = address.federation, address.instance_id
        sequence = opened.sequence if isinstance(opened, Refusal) else opened.event.sequence
        last = state.judged.get(federation, instance_id)
        acceptable = not isinstance(opened, Refusal)
        if sequence is not None and last is not None and sequence <= last.sequence:
            same = sequence == last.sequence
            if not (same and last.refused and acceptable and dead_letters.redriven(record)):
                # Before all other reasons: whoever sends an old report again gets no dead letter out of it.
                outcome = Outcome.DUPLICATE if same else Outcome.STALE
                step.handled[record.topic, outcome] += 1
                return _Answer(record, registration, outcome.value, sequence)
        minute, reports, size = _pace(last, record)
        if acceptable and (
            reports > self.settings.max_reports_a_minute or size > self.settings.max_report_bytes_a_minute
        ):
            opened = Refusal(
                Reason.RATE_LIMITED, authenticated=True, sequence=sequence, federation=federation
            )
        refused = isinstance(opened, Refusal)
        # A sequence of the far future would shut out everything that the instance sends until then.
        if sequence is not None and not (isinstance(opened, Refusal) and opened.reason is Reason.TOO_EARLY):
            state.judged.put(federation, instance_id, Judged(sequence, refused, minute, reports, size))
        if isinstance(opened, Refusal):
            self._refuse(record, opened, step)
            return _Answer(record, registration, f"refused:{opened.reason}", sequence)
        step.handled[record.topic, Outcome.ACCEPTED] += 1
        return _Answer(record, registration, "admitted", sequence, pack(opened.event))

    def _refuse(self, record: Record, refusal: Refusal, step: Step) -> None:
        step.handled[record.topic, Outcome.DEAD_LETTERED] += 1
        step.emits.append(
            dead_letters.refuse(record, refusal.reason, self.name, self.context, refusal.federation)
        )

    def _admissions(self, answers: Sequence[_Answer], verdict: Verdict, step: Step) -> None:
        judged = 0
        for answer in answers:
            received, accepted, rejected = 0, 0, {}
            if answer.report is not None:
                received = answer.report.rows
                accepted, rejected = verdict.accepted(judged), verdict.rejected(judged)
                judged += 1
            record, registered = answer.record, answer.registration.registered
            step.rows["accepted", ""] += accepted
            for reason, count in rejected.items():
                step.rows["rejected", reason] += count
            event = Admission(
                federation=registered.federation,
                instance_id=registered.instance_id,
                sequence=answer.sequence,
                received=received,
                accepted=accepted,
                rejected=rejected,
                outcome=answer.outcome,
                position=Position(topic=record.topic, partition=record.partition, offset=record.offset),
                registration_offset=answer.registration.offset,
            )
            key = f"{registered.federation}/{registered.instance_id}"
            partition = key_partition(key, self.context.partitions[Admission.topic])
            step.emits.append(Emit(Admission.topic, partition, key, event, _id(record), record.append_ms))

    def _contribute(
        self,
        removed: Sequence[tuple[str, Entry]],
        admitted: Sequence[_Answer],
        verdict: Verdict,
        records: Sequence[Record],
        step: Step,
    ) -> None:
        """Emit the contributions: of each federation what left, and then the reports in their order."""
        federations = dict.fromkeys(
            [federation for federation, _ in removed]
            + [answer.registration.registered.federation for answer in admitted]
        )
        for federation in federations:
            entries = [entry for of, entry in removed if of == federation]
            place = np.full(len(admitted), -1)
            for index, answer in enumerate(admitted):
                registered = answer.registration.registered
                if registered.federation == federation and answer.sequence is not None:
                    place[index] = len(entries)
                    entries.append(Entry(registered.instance_id, registered.organisation, answer.sequence))
            entry = place[verdict.report]
            own = entry >= 0
            parts = contributions(
                federation,
                entries,
                verdict.rows.compress(own),
                entry[own],
                verdict.words,
                bucket_count=self.context.partitions[Contribution.topic],
            )
            # The last record of the batch makes the id unique: no other step ends with it.
            cause = records[-1]
            for part, (bucket, event) in enumerate(parts):
                identity = f"{federation}/{_id(cause)}/{part}"
                step.emits.append(Emit(Contribution.topic, bucket, None, event, identity, cause.append_ms))


def _pace(last: Judged | None, record: Record) -> tuple[int, int, int]:
    """Return the record's minute of broker time and how many reports and bytes it makes them.

    Only sequences that were not judged before are counted: nobody uses up the pace of another by sending its
    reports again.
    """
    minute, size = record.append_ms // _MINUTE_MS, len(record.value or b"")
    if last is None or last.minute != minute:
        return minute, 1, size
    return minute, last.reports + 1, last.size + size


def _id(record: Record) -> str:
    return f"{record.topic}/{record.partition}/{record.offset}"
