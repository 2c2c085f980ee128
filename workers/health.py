"""The health worker: who lives, how reliably, and what every instance weighs.

An observer that was blind (a gap between two ticks, or a restart) knows nothing of the time it did not see:
statuses stay, and silence counts from when it looks again. So a stalled or restarted monitor does not declare
the world dead.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import ClassVar

from learning import weights
from schemas.health import Admitted, InstanceHealth, Judged, Status
from schemas.instances import Heartbeat, InstanceRegistered
from schemas.reasons import Reason, RowReason
from schemas.reports import Admission
from workers import dead_letters, inbound, registry
from workers.fold import Context, Emit, Measure, Observation, Outcome, Record, State, Step, Table
from workers.inbound import Refusal
from workers.internal import OneByOne, read
from workers.registry import Change, Registration
from workers.vitals import Accounting, Vitals

#: Time between two looks at who is silent.
TICK_MS = 1_000

#: A look that comes later than this after the one before was preceded by blindness.
BLIND_AFTER_MS = 2 * TICK_MS

#: Outcomes of reports that are no sign of life: anybody can send a captured report again.
_NOT_ALIVE = frozenset({f"refused:{Reason.TOO_OLD}", f"refused:{Reason.TOO_EARLY}"})

_TYPES = (Heartbeat,)


class HealthState(State):
    """Registrations and vitals by instance, and since when this observer has been looking."""

    def __init__(self) -> None:
        self.registrations = registry.registrations()
        self.vitals: Table[Vitals] = Table("vitals", Vitals)
        #: (observed from, last look), under no federation; empty after a restore.
        self.observer: Table[tuple[int, int]] = Table("observer", None)
        super().__init__(self.registrations, self.vitals, self.observer)


class Health(OneByOne[HealthState]):
    """Registrations, heartbeats and admissions in; InstanceHealth out."""

    name: ClassVar[str] = "health"
    inputs: ClassVar[tuple[str, ...]] = (InstanceRegistered.topic, Heartbeat.topic, Admission.topic)
    outputs: ClassVar[tuple[str, ...]] = (InstanceHealth.topic,)
    first: ClassVar[tuple[str, ...]] = (InstanceRegistered.topic,)

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._timeout_ms = int(self.settings.heartbeat_timeout_s * 1000)
        self._min_weight = self.settings.configuration().min_instance_weight

    def state(self) -> HealthState:
        """Return the empty state."""
        return HealthState()

    def take(self, state: HealthState, record: Record, step: Step) -> Outcome:
        """Fold one record: a registration, or a sign of life."""
        if record.topic == InstanceRegistered.topic:
            return self._register(state, record, step)
        if record.topic == Heartbeat.topic:
            return self._beat(state, record, step)
        return self._admission(state, record, step)

    def deadline(self, state: HealthState) -> int | None:
        """Return when to look next: at once after a restore."""
        observer = state.observer.get("")
        return 0 if observer is None else observer[1] + TICK_MS

    def tick(self, state: HealthState, now_ms: int) -> Step:
        """Look who is silent."""
        step = Step()
        observer = state.observer.get("")
        if observer is None or now_ms - observer[1] > BLIND_AFTER_MS:
            observed_from_ms = now_ms
        else:
            observed_from_ms = observer[0]
        state.observer.put("", "", (observed_from_ms, now_ms))
        for federation in state.vitals.federations():
            for instance_id, before in tuple(state.vitals.of(federation).items()):
                registration = state.registrations.get(federation, instance_id)
                if registration is None or registration.deregistered:
                    continue
                after = before.silent(now_ms, observed_from_ms, self._timeout_ms)
                if after != before:
                    self._change(state, registration, after, step, cause=f"tick/{now_ms}", now_ms=now_ms)
        return step

    def observe(self, state: HealthState) -> Iterator[Observation]:
        """Count the registered instances by status."""
        for federation in state.vitals.federations():
            # Copied at once: a step may run in a thread.
            statuses = Counter(
                vitals.status
                for instance_id, vitals in tuple(state.vitals.of(federation).items())
                if registry.standing(state.registrations, inbound.Address(federation, instance_id))
            )
            for status in Status:
                yield Observation(Measure.INSTANCES, (federation, status), statuses[status])

    def _register(self, state: HealthState, record: Record, step: Step) -> Outcome:
        change = registry.register(state.registrations, record, self.context)
        if isinstance(change, Refusal):
            # The privacy worker reads the same record, and writes its dead letter.
            return Outcome.DEAD_LETTERED
        if not isinstance(change, Change):
            return change
        federation, instance_id = change.federation, change.instance_id
        before = state.vitals.get(federation, instance_id)
        period_ms = change.after.registered.heartbeat_period_s * 1000
        if change.after.deregistered:
            # What remains is the sequence, or an old heartbeat could be sent again after a return.
            rest = Vitals(period_ms, beat_sequence=before.beat_sequence if before else -1)
            state.vitals.put(federation, instance_id, rest)
            step.emits.append(self._emit(change.after, None, _cause(record), record.append_ms))
            return Outcome.ACCEPTED
        vitals = replace(before, period_ms=period_ms) if before else Vitals(period_ms)
        state.vitals.put(federation, instance_id, vitals)
        step.emits.append(self._emit(change.after, vitals, _cause(record), record.append_ms))
        return Outcome.ACCEPTED

    def _beat(self, state: HealthState, record: Record, step: Step) -> Outcome:
        authority = registry.key_of_instance(state.registrations)
        opened = inbound.open_record(record, _TYPES, authority, self.context)
        if isinstance(opened, Refusal):
            step.emits.append(
                dead_letters.refuse(record, opened.reason, self.name, self.context, opened.federation)
            )
            return Outcome.DEAD_LETTERED
        event = opened.event
        registration, before = self._known(state, event.federation, event.instance_id)
        if registration is None or before is None:
            raise LookupError(f"{event.instance_id} signed without a registration")
        if event.sequence <= before.beat_sequence:
            return Outcome.DUPLICATE if event.sequence == before.beat_sequence else Outcome.STALE
        after = before.beat(record.append_ms, event.sequence)
        self._change(state, registration, after, step, cause=_cause(record), now_ms=record.append_ms)
        return Outcome.ACCEPTED

    def _admission(self, state: HealthState, record: Record, step: Step) -> Outcome:
        event = read(record, Admission)
        if event is None:
            return Outcome.ACCEPTED  # there is no other type on the topic
        registration, before = self._known(state, event.federation, event.instance_id)
        if registration is None or before is None:
            return Outcome.STALE  # the instance has left since its report was judged
        if event.registration_offset < registration.since_offset:
            return Outcome.STALE  # … and come back: what the report brought was removed when it left
        if event.position.offset <= before.report_offset:
            return Outcome.DUPLICATE
        after = replace(before, report_offset=event.position.offset)
        if event.outcome in {"duplicate", "stale"}:
            state.vitals.put(event.federation, event.instance_id, after)
            return Outcome.ACCEPTED
        after = _judge(after, event, record.append_ms)
        cause = _cause(record)
        state.vitals.put(event.federation, event.instance_id, after)
        step.emits.append(self._emit(registration, after, cause, record.append_ms))
        return Outcome.ACCEPTED

    def _known(
        self, state: HealthState, federation: str, instance_id: str
    ) -> tuple[Registration | None, Vitals | None]:
        registration = registry.standing(state.registrations, inbound.Address(federation, instance_id))
        return registration, state.vitals.get(federation, instance_id)

    def _change(
        self,
        state: HealthState,
        registration: Registration,
        after: Vitals,
        step: Step,
        *,
        cause: str,
        now_ms: int,
    ) -> None:
        """Store the vitals, and publish them if something else than the last traffic's times changed."""
        registered = registration.registered
        before = state.vitals.get(registered.federation, registered.instance_id)
        state.vitals.put(registered.federation, registered.instance_id, after)
        if before is None or _published(before) != _published(after):
            step.emits.append(self._emit(registration, after, cause, now_ms))

    def _emit(self, registration: Registration, vitals: Vitals | None, cause: str, now_ms: int) -> Emit:
        registered = registration.registered
        event = None if vitals is None else self._health(registration, vitals, now_ms)
        key = f"{registered.federation}/{registered.instance_id}"
        partition = self.context.federation_partition(InstanceHealth.topic, registered.federation)
        return Emit(InstanceHealth.topic, partition, key, event, f"{key}/{cause}", now_ms)

    def _health(self, registration: Registration, vitals: Vitals, now_ms: int) -> InstanceHealth:
        registered = registration.registered
        reliability, data_quality, rows = vitals.reliability, vitals.data_quality, vitals.pattern_count
        admitted = None
        if vitals.admitted_sequence is not None and vitals.admitted_ms is not None:
            admitted = Admitted(sequence=vitals.admitted_sequence, append_ms=vitals.admitted_ms)
        judged = None
        if vitals.judged_outcome is not None:
            judged = Judged(sequence=vitals.judged_sequence, outcome=vitals.judged_outcome)
        return InstanceHealth(
            federation=registered.federation,
            instance_id=registered.instance_id,
            organisation=registered.organisation,
            status=vitals.status,
            reliability=reliability,
            data_quality=data_quality,
            pattern_count=rows,
            weight=weights.weight(reliability, data_quality, rows, self._min_weight),
            last_seen_ms=vitals.last_seen_ms,
            admitted=admitted,
            judged=judged,
            public_keys=registry.valid_keys(registration, now_ms),
            skew_ms=vitals.skew_ms,
        )


def _judge(vitals: Vitals, admission: Admission, now_ms: int) -> Vitals:
    """Return the vitals after a report that was admitted or refused."""
    # A sequence of the far future must not stand as the last one answered: later ones would get no answer.
    too_early = admission.outcome == f"refused:{Reason.TOO_EARLY}"
    sequence = None if too_early else admission.sequence
    vitals = replace(vitals, judged_sequence=sequence, judged_outcome=admission.outcome)
    if admission.sequence is None or admission.outcome in _NOT_ALIVE:
        return vitals
    if admission.outcome != "admitted":
        return vitals.seen(now_ms, admission.sequence)
    accounting = Accounting(
        admission.received,
        admission.accepted,
        admission.rejected.get(RowReason.LOW_CERTAINTY, 0),
        admission.rejected.get(RowReason.LOW_QUALITY, 0),
    )
    return vitals.admit(now_ms, admission.sequence, accounting)


def _published(vitals: Vitals) -> tuple[object, ...]:
    """Return what heartbeats and silence can change of what is published."""
    return vitals.status, vitals.reliability


def _cause(record: Record) -> str:
    return f"{record.topic}/{record.partition}/{record.offset}"
