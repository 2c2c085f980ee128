"""Who takes part: registrations and deregistrations, and whose key may sign them.

With ``enrolment=operator`` the federation's operator signs every one of them. With ``enrolment=open`` an
unknown instance signs its own first registration with one of the keys in it (first come, first kept), and
later ones with a key of the registration that stands. Every change raises ``enrolment``; what does not is
ignored.
"""

from dataclasses import dataclass

from schemas.event import Count, Facts
from schemas.instances import InstanceDeregistered, InstanceRegistered, PublicKey
from schemas.reasons import Reason
from workers import inbound
from workers.fold import Context, Outcome, Record, Table
from workers.inbound import Address, Opened, Refusal


class Registration(Facts):
    """The registration of an instance that stands; the row of the table ``registrations``, by instance_id."""

    registered: InstanceRegistered
    #: Of the registration's record in its partition of flc.instances.v1.
    offset: Count
    #: Of the registration with which the instance came, or came back: what an earlier one judged is gone.
    since_offset: Count
    #: The highest enrolment seen.
    enrolment: Count
    #: The instance left: its keys sign nothing any more but, in open enrolment, its return.
    deregistered: bool = False


@dataclass(frozen=True, slots=True)
class Change:
    """An accepted registration or deregistration: what stood before, and what stands now."""

    before: Registration | None
    after: Registration

    @property
    def federation(self) -> str:
        """The federation."""
        return self.after.registered.federation

    @property
    def instance_id(self) -> str:
        """The instance."""
        return self.after.registered.instance_id


def registrations() -> Table[Registration]:
    """Return the empty table."""
    return Table("registrations", Registration, encode=lambda row: row.model_dump_json().encode())


def standing(table: Table[Registration], address: Address) -> Registration | None:
    """Return the registration of an instance that takes part, or None."""
    stored = table.get(address.federation, address.instance_id)
    return None if stored is None or stored.deregistered else stored


def key_of_instance(table: Table[Registration]) -> inbound.Authority:
    """Return the authority by which an instance speaks for itself with a key of its registration."""

    def judge(address: Address, _event_type: str, key_id: str, now_ms: int) -> Reason | None:
        stored = standing(table, address)
        if stored is None:
            return Reason.UNKNOWN_INSTANCE
        return inbound.registered_key(stored.registered.public_keys, key_id, now_ms)

    return judge


def register(table: Table[Registration], record: Record, context: Context) -> Change | Refusal | Outcome:
    """Fold one record of flc.instances.v1 into the table.

    Returns the change, why the record is refused, or that it is a duplicate (the same enrolment) or stale (a
    lower one).
    """

    def authority(address: Address, _event_type: str, key_id: str, now_ms: int) -> Reason | None:
        return _authority(table, address, key_id, now_ms, context)

    types: tuple[type[InstanceRegistered | InstanceDeregistered], ...] = (
        InstanceRegistered,
        InstanceDeregistered,
    )
    opened: Opened[InstanceRegistered | InstanceDeregistered] | Refusal = inbound.open_record(
        record, types, authority, context
    )
    if isinstance(opened, Refusal):
        return opened
    event = opened.event
    stored = table.get(event.federation, event.instance_id)
    if stored is not None and event.enrolment <= stored.enrolment:
        return Outcome.DUPLICATE if event.enrolment == stored.enrolment else Outcome.STALE
    if isinstance(event, InstanceRegistered):
        reason = None
        if stored is None and not _is_operator(event.federation, opened.key_id, context):
            reason = inbound.registered_key(event.public_keys, opened.key_id, record.append_ms)
        after = Registration(
            registered=event,
            offset=record.offset,
            since_offset=record.offset if stored is None or stored.deregistered else stored.since_offset,
            enrolment=event.enrolment,
        )
    else:
        reason = Reason.UNKNOWN_INSTANCE if stored is None else None
        if stored is not None:
            after = stored.model_copy(update={"enrolment": event.enrolment, "deregistered": True})
    if reason is not None:
        return Refusal(reason, authenticated=True, federation=event.federation)
    table.put(event.federation, event.instance_id, after)
    return Change(stored, after)


def valid_keys(registration: Registration, now_ms: int) -> tuple[PublicKey, ...]:
    """Return the keys that are valid at ``now_ms`` (Unix ms) or will be."""
    return tuple(
        key
        for key in registration.registered.public_keys
        if not key.revoked and (key.not_after_ms is None or now_ms <= key.not_after_ms)
    )


def _is_operator(federation: str, key_id: str, context: Context) -> bool:
    return context.settings.operator_keys.get(federation) == key_id


def _authority(
    table: Table[Registration], address: Address, key_id: str, now_ms: int, context: Context
) -> Reason | None:
    if _is_operator(address.federation, key_id, context):
        return None
    if context.settings.enrolment == "operator":
        return Reason.UNKNOWN_KEY
    stored = table.get(address.federation, address.instance_id)
    if stored is None:
        return None  # it has to be signed by one of its own keys, which shows once it is parsed
    reason = inbound.registered_key(stored.registered.public_keys, key_id, now_ms)
    return Reason.ENROLMENT_TAKEN if reason is Reason.UNKNOWN_KEY else reason
