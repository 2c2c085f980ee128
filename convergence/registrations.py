"""Who is enrolled: the registration of an instance that stands, and what the operator may make of it."""

from collections.abc import Mapping

from convergence.errors import EnrolmentError, NotEnrolled
from convergence.keys import Keys
from convergence.topics import everything, partition_counts
from schemas import signing
from schemas.instances import InstanceRegistered, PublicKey
from schemas.partitioning import key_partition
from workers import registry
from workers.fold import Context
from workers.registry import Registration
from workers.runtime.port import Bus, TopicPartition
from workers.settings import Settings

#: A registration holds at most so many keys.
MAX_KEYS = 8


async def current(bus: Bus, settings: Settings, federation: str, instance_id: str) -> Registration | None:
    """Return the registration of an instance that stands, or None if it never had one.

    Judged as the workers judge it: what is not signed by whom the settings name does not count, or anybody
    who can write to the topic could make an operator sign a stranger's key.
    """
    topic = InstanceRegistered.topic
    counts = await partition_counts(bus, (topic,))
    key = f"{federation}/{instance_id}"
    partition = TopicPartition(topic, key_partition(key, counts[topic]))
    context = Context(partition.partition, counts, settings)
    table = registry.registrations()
    async for record in everything(bus, (partition,)):
        if record.key == key.encode():
            registry.register(table, record, context)
    return table.get(federation, instance_id)


def registration_document(
    settings: Settings,
    instance_id: str,
    organisation: str,
    *,
    instance_name: str | None = None,
    deployment_region: str = "",
    heartbeat_period_s: int = 30,
    metadata: Mapping[str, str] | None = None,
) -> InstanceRegistered:
    """Return what an instance says of itself, with its public key: the operator enrols it by this document.

    The key pair is made if there is none; the private half stays in its file.
    """
    key = Keys(settings.keys_directory).ensure_instance(settings.federation, instance_id)
    return InstanceRegistered(
        federation=settings.federation,
        instance_id=instance_id,
        instance_name=instance_id if instance_name is None else instance_name,
        deployment_region=deployment_region,
        organisation=organisation,
        enrolment=1,
        public_keys=(PublicKey(key=signing.public_key(key)),),
        heartbeat_period_s=heartbeat_period_s,
        metadata=dict(metadata or {}),
    )


def holds(stands: Registration | None, key: str, now_ms: int) -> bool:
    """Tell whether an instance takes part and may sign with the key now."""
    if stands is None or stands.deregistered:
        return False
    return any(held.key == key and held.valid_at(now_ms) for held in stands.registered.public_keys)


def due(
    stands: Registration | None, document: InstanceRegistered, key: str, now_ms: int, *, operated: bool
) -> InstanceRegistered | None:
    """Return what an instance has to register of itself to sign with ``key``, or None if that is done.

    Raises NotEnrolled where it cannot: another key holds the instance id or, ``operated``, the operator has
    not enrolled it.
    """
    federation, instance_id = document.federation, document.instance_id
    if stands is not None and not stands.deregistered:
        if not holds(stands, key, now_ms):
            reason = f"is enrolled with another key, or its own is no longer valid; this deployment has {key}"
            raise NotEnrolled(federation, instance_id, reason)
    elif operated:
        reason = f"the operator has not enrolled it; this deployment has the key {key}"
        raise NotEnrolled(federation, instance_id, reason)
    if operated:
        return None
    following = enrolled(stands, document)
    return following if stands is None or following.enrolment > stands.enrolment else None


def enrolled(stands: Registration | None, document: InstanceRegistered) -> InstanceRegistered:
    """Return the registration that follows from an instance's document; without a change it is the same.

    The keys of an instance that takes part change by rotation only. Raises EnrolmentError.
    """
    if stands is None:
        return document.model_copy(update={"enrolment": 1})
    if stands.deregistered:
        return document.model_copy(update={"enrolment": stands.enrolment + 1})
    held = stands.registered.public_keys
    if {key.key for key in document.public_keys} - {key.key for key in held}:
        raise EnrolmentError(
            document.federation,
            document.instance_id,
            "is enrolled with another key; rotate to bring in a new one",
        )
    # The stored keys stay: they may be revoked or running out, of which the document knows nothing.
    same = document.model_copy(update={"enrolment": stands.enrolment, "public_keys": held})
    return same if same == stands.registered else same.model_copy(update={"enrolment": stands.enrolment + 1})


def rotated(registered: InstanceRegistered, key: str, now_ms: int, overlap_ms: int) -> InstanceRegistered:
    """Return the registration with ``key`` added and the others ending ``overlap_ms`` from now.

    Raises EnrolmentError for a key that was there before: a revoked or ended one never comes back.
    """
    if any(held.key == key for held in registered.public_keys):
        raise EnrolmentError(
            registered.federation, registered.instance_id, "this key is or was its own already"
        )
    end_ms = now_ms + overlap_ms
    others = [
        held
        if held.not_after_ms is not None and held.not_after_ms <= end_ms
        else held.model_copy(update={"not_after_ms": end_ms})
        for held in registered.public_keys
    ]
    # Ended and revoked keys stay named while there is room, so that dead letters can say why.
    others.sort(key=lambda held: (held.valid_at(now_ms), held.not_after_ms or 0))
    keys = (*others[-(MAX_KEYS - 1) :], PublicKey(key=key))
    return registered.model_copy(update={"enrolment": registered.enrolment + 1, "public_keys": keys})


def revoked(registered: InstanceRegistered, key: str) -> InstanceRegistered:
    """Return the registration with ``key`` revoked; raises EnrolmentError if it does not hold it."""
    if all(held.key != key for held in registered.public_keys):
        raise EnrolmentError(registered.federation, registered.instance_id, "does not hold this key")
    keys = tuple(
        held.model_copy(update={"revoked": True}) if held.key == key else held
        for held in registered.public_keys
    )
    return registered.model_copy(update={"enrolment": registered.enrolment + 1, "public_keys": keys})
