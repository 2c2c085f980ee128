"""Records as they arrive: who sent them is settled before anybody looks at what they say.

``open_record`` takes a record through these gates, in this order; the first that it fails refuses it:
size → key → value → partition → headers → type and version → the key that signed → signature → JSON →
the key of the record is the one of the event → the sequence, which is also the sending time.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from schemas import cloudevents, signing
from schemas.cloudevents import Envelope
from schemas.commands import SynchronizationRequested
from schemas.event import MAX_EXACT, MAX_RECORD_BYTES, NAME_FORM, Inbound
from schemas.instances import PublicKey
from schemas.knowledge import KnowledgeAcknowledged
from schemas.partitioning import key_partition
from schemas.reasons import Reason
from workers.fold import Context, Record
from workers.parsing import parse, read_object

#: All headers of a record together may have so many bytes.
MAX_HEADER_BYTES = 4096

#: Topics whose records lie where their federation hashes to, whatever the rest of their key says.
BY_FEDERATION = frozenset({SynchronizationRequested.topic, KnowledgeAcknowledged.topic})

_ADDRESS = re.compile(f"({NAME_FORM})(?:/({NAME_FORM}))?")

E_co = TypeVar("E_co", bound=Inbound, covariant=True)
E = TypeVar("E", bound=Inbound)


@dataclass(frozen=True, slots=True)
class Address:
    """What the key of a record says: the federation, and the instance ("" on topics keyed by federation)."""

    federation: str
    instance_id: str


#: Whether a key id may speak for an address, in an event of a type, at a time (Unix ms); None: it may.
Authority = Callable[[Address, str, str, int], Reason | None]


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a record is not taken.

    ``authenticated``: the signature held, so the reason may be told to the sender. ``sequence``: the event's
    own, if it could be read and is credible. ``federation``: as the key of the record has it, if that is
    well formed.
    """

    reason: Reason
    authenticated: bool = False
    sequence: int | None = None
    federation: str | None = None


class _RefusedError(Exception):
    """Raised at the gate that a record fails."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Signed:
    """A record behind the cheap gates: all that is needed to verify it, nothing of it parsed."""

    record: Record
    value: bytes
    address: Address
    envelope: Envelope
    key_id: str
    signature: bytes


@dataclass(frozen=True, slots=True)
class Opened(Generic[E_co]):
    """An authenticated, well-formed event; ``key_id`` is the public key (64 hex digits) that signed it."""

    event: E_co
    envelope: Envelope
    key_id: str


def open_record(
    record: Record,
    types: Sequence[type[E]],
    authority: Authority,
    context: Context,
    *,
    behind_ms: int | None = None,
) -> Opened[E] | Refusal:
    """Take a record through all gates; ``behind_ms``: how old a sequence may be (None: see the settings)."""
    signed = identify(record, types, authority, context)
    if isinstance(signed, Refusal):
        return signed
    (verified,) = verify((signed,))
    return read(signed, types, context, verified=verified, behind_ms=behind_ms)


def identify(
    record: Record, types: Sequence[type[Inbound]], authority: Authority, context: Context
) -> Signed | Refusal:
    """Take a record through the gates before the signature."""
    try:
        address, value = _place(record, context)
        envelope = _envelope(record, value, types)
        key_id, signature = _signature(envelope)
        reason = authority(address, envelope.type, key_id, record.append_ms)
    except _RefusedError as refused:
        said = address_of(record.key)
        return Refusal(refused.reason, federation=None if said is None else said.federation)
    if reason is not None:
        return Refusal(reason, federation=address.federation)
    return Signed(record, value, address, envelope, key_id, signature)


def verify(batch: Iterable[Signed]) -> list[bool]:
    """Tell of each whether its signature holds.

    A batch at once, before anything of it is parsed: in turn, the two work each other out of the caches.
    """
    return [
        signing.verify(
            signed.key_id, signed.signature, signed.envelope.type, signed.record.topic, signed.value
        )
        for signed in batch
    ]


def read(
    signed: Signed,
    types: Sequence[type[E]],
    context: Context,
    *,
    verified: bool,
    behind_ms: int | None = None,
) -> Opened[E] | Refusal:
    """Take a record through the gates behind the signature."""
    federation = signed.address.federation
    if not verified:
        return Refusal(Reason.BAD_SIGNATURE, federation=federation)
    model = next(model for model in types if model.__name__ == signed.envelope.type)
    event = parse(signed.envelope.data, model)
    if isinstance(event, Reason):
        sequence = _claimed_sequence(signed)
        if sequence is not None and _untimely(sequence, signed.record, context, behind_ms):
            sequence = None
        return Refusal(event, authenticated=True, sequence=sequence, federation=federation)
    if _said_by(event) != signed.address:
        return Refusal(Reason.KEY_MISMATCH, authenticated=True, federation=federation)
    number = getattr(event, "sequence", None)
    if number is not None:
        untimely = _untimely(number, signed.record, context, behind_ms)
        if untimely is not None:
            return Refusal(untimely, authenticated=True, sequence=number, federation=federation)
    return Opened(event, signed.envelope, signed.key_id)


def registered_key(keys: Iterable[PublicKey], key_id: str, now_ms: int) -> Reason | None:
    """Return why ``key_id`` is not one of the keys that are valid at ``now_ms`` (Unix ms), or None: it is."""
    for key in keys:
        if key.key == key_id:
            if key.revoked:
                return Reason.REVOKED_KEY
            return None if key.valid_at(now_ms) else Reason.KEY_NOT_VALID
    return Reason.UNKNOWN_KEY


def address_of(key: bytes | None) -> Address | None:
    """Return what the key of a record says, or None if it is not well formed."""
    try:
        match = _ADDRESS.fullmatch((key or b"").decode("ascii"))
    except UnicodeDecodeError:
        return None
    return None if match is None else Address(match[1], match[2] or "")


def _said_by(event: Inbound) -> Address:
    # The topic of commands is keyed by federation; the events of all others name their instance.
    return Address(event.federation, getattr(event, "instance_id", ""))


def _place(record: Record, context: Context) -> tuple[Address, bytes]:
    if record.undecodable:
        raise _RefusedError(Reason.CORRUPT_BATCH)
    if len(record.value or b"") > MAX_RECORD_BYTES:
        raise _RefusedError(Reason.TOO_LARGE)
    if not record.key:
        raise _RefusedError(Reason.NO_KEY)
    address = address_of(record.key)
    if address is None:
        raise _RefusedError(Reason.KEY_MISMATCH)
    if record.value is None:
        raise _RefusedError(Reason.TOMBSTONE)
    hashed = address.federation if record.topic in BY_FEDERATION else record.key.decode()
    if record.partition != key_partition(hashed, context.partitions[record.topic]):
        raise _RefusedError(Reason.WRONG_PARTITION)
    return address, record.value


def _signature(envelope: Envelope) -> tuple[str, bytes]:
    key_id = envelope.extensions.get(signing.KEY_HEADER, b"").decode("ascii", "replace")
    signature = envelope.extensions.get(signing.SIGNATURE_HEADER, b"")
    if not key_id or not signature:
        raise _RefusedError(Reason.UNSIGNED)
    return key_id, signature


def _envelope(record: Record, value: bytes, types: Sequence[type[Inbound]]) -> Envelope:
    if sum(len(name) + len(content or b"") for name, content in record.headers) > MAX_HEADER_BYTES:
        raise _RefusedError(Reason.BAD_HEADERS)
    try:
        envelope = cloudevents.read(record.headers, value)
    except ValueError:
        raise _RefusedError(Reason.BAD_HEADERS) from None
    if envelope.type not in {model.__name__ for model in types}:
        raise _RefusedError(Reason.UNKNOWN_TYPE)
    schema = dict(record.headers).get("ce_dataschema")
    if schema is not None and schema != cloudevents.schema_id(envelope.type).encode():
        raise _RefusedError(Reason.UNKNOWN_VERSION)
    return envelope


def _untimely(sequence: int, record: Record, context: Context, behind_ms: int | None) -> Reason | None:
    if sequence > record.append_ms + context.settings.max_sequence_ahead_ms:
        return Reason.TOO_EARLY
    behind = context.settings.max_sequence_behind_ms if behind_ms is None else behind_ms
    return Reason.TOO_OLD if sequence < record.append_ms - behind else None


def _claimed_sequence(signed: Signed) -> int | None:
    """Return the sequence of an authenticated event that is not well formed, if it is beyond doubt."""
    document = read_object(signed.envelope.data)
    if isinstance(document, Reason):
        return None
    sequence = document.get("sequence")
    claimed = (document.get("federation"), document.get("instance_id"))
    own = claimed == (signed.address.federation, signed.address.instance_id)
    return sequence if own and type(sequence) is int and 0 <= sequence <= MAX_EXACT else None
