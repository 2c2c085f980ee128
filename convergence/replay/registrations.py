"""Who was registered, with which keys, from which offset on: the topic of registrations, folded once more."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from convergence.replay import senders
from convergence.replay.log import Log, Record
from convergence.replay.rules import Rules
from convergence.replay.senders import Address, Sent
from schemas.event import Inbound
from schemas.instances import InstanceDeregistered, InstanceRegistered
from schemas.reasons import Reason

_TYPES = (InstanceRegistered, InstanceDeregistered)


@dataclass(frozen=True)
class Registration:
    """How an instance stands from ``since`` on."""

    #: Offset of the record that made it so, in its partition of flc.instances.v1.
    since: int
    #: Offset of the registration itself.
    offset: int
    registered: InstanceRegistered
    enrolment: int
    append_ms: int
    left: bool = False

    def refusal(self, key_id: str, now_ms: int) -> Reason | None:
        """Return why the key may not speak for the instance, or None."""
        if self.left:
            return Reason.UNKNOWN_INSTANCE
        return senders.refusal_of_key(self.registered.public_keys, key_id, now_ms)


@dataclass
class Registrations:
    """All registrations of all instances, and what was refused."""

    #: Address -> how it stood, one after the other.
    history: dict[Address, list[Registration]] = field(default_factory=dict)
    #: (partition, offset) -> why the record was refused.
    refused: dict[tuple[int, int], Reason] = field(default_factory=dict)

    def of(self, address: Address) -> Sequence[Registration]:
        """Return how an instance stood, one after the other."""
        return self.history.get(address, ())

    def refusals(self, sent: Sent) -> set[Reason | None]:
        """Return what a key was told at any time: why it may not speak, or None where it may."""
        now_ms = sent.record.append_ms
        told = {one.refusal(sent.key_id, now_ms) for one in self.of(sent.address)}
        return told | {Reason.UNKNOWN_INSTANCE}


def registrations(log: Log, rules: Rules) -> Registrations:
    """Return what the topic of registrations says."""
    found = Registrations()
    for record in log.of(InstanceRegistered.topic):
        reason = _register(found, record, log.partitions, rules)
        if reason is not None:
            found.refused[record.partition, record.offset] = reason
    return found


def _register(  # noqa: PLR0911  (one for each gate)
    found: Registrations, record: Record, partitions: Mapping[str, int], rules: Rules
) -> Reason | None:
    """Take one record in; return why it is refused, or None."""
    sent = senders.sent(record, _TYPES, partitions)
    if isinstance(sent, Reason):
        return sent
    by_operator = rules.operator_keys.get(sent.address[0]) == sent.key_id
    before = found.of(sent.address)[-1] if found.of(sent.address) else None
    reason = None if by_operator else _refusal(sent, before, rules)
    if reason is not None:
        return reason
    if not sent.signed():
        return Reason.BAD_SIGNATURE
    said = senders.said(sent, _TYPES, rules)
    event = said.event
    if event is None or (before is not None and _enrolment(event) <= before.enrolment):
        return said.reason
    if isinstance(event, InstanceRegistered):
        if before is None and not by_operator:
            own = senders.refusal_of_key(event.public_keys, sent.key_id, record.append_ms)
            if own is not None:
                return own
        after = Registration(record.offset, record.offset, event, event.enrolment, record.append_ms)
    elif before is None:
        return Reason.UNKNOWN_INSTANCE
    else:
        after = replace(
            before, since=record.offset, enrolment=_enrolment(event), append_ms=record.append_ms, left=True
        )
    found.history.setdefault(sent.address, []).append(after)
    return None


def _refusal(sent: Sent, before: Registration | None, rules: Rules) -> Reason | None:
    """Return why a key that is not the operator's may not register an instance."""
    if not rules.open_enrolment:
        return Reason.UNKNOWN_KEY
    if before is None:
        return None  # it has to be one of the keys that are registered
    reason = senders.refusal_of_key(before.registered.public_keys, sent.key_id, sent.record.append_ms)
    return Reason.ENROLMENT_TAKEN if reason is Reason.UNKNOWN_KEY else reason


def _enrolment(event: Inbound) -> int:
    enrolment: int = event.enrolment  # type: ignore[attr-defined]  # both types have one
    return enrolment
