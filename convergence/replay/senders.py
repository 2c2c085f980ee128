"""Who sent a record: everything about it that is settled before, and right behind, its signature.

A record is refused at the first of these gates that it fails: size, key, value, partition, headers, type,
version, that it is signed, the key that signed it, the signature, the JSON, that the key of the record is the
one of the event, the sending time.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from convergence.replay import documents
from convergence.replay.log import Record
from convergence.replay.rules import Rules
from schemas import cloudevents, signing
from schemas.cloudevents import Envelope
from schemas.event import MAX_RECORD_BYTES, Inbound
from schemas.instances import PublicKey
from schemas.partitioning import key_partition
from schemas.reasons import Reason

#: All headers of a record together have at most so many bytes.
MAX_HEADER_BYTES = 4096

#: Sequences go up to here.
MAX_SEQUENCE = 2**53

#: Headers of a record that was sent again: where the original stands, and how often it was.
REDRIVEN_FROM, REDRIVES = "flc_redriven_from", "flc_redrives"

#: Topics whose records lie where the federation in their key hashes to.
_BY_FEDERATION = frozenset({"flc.commands.v1", "flc.acknowledgements.v1"})

_KEY = re.compile(r"([a-z0-9][a-z0-9._-]{0,63})(?:/([a-z0-9][a-z0-9._-]{0,63}))?")

Address = tuple[str, str]


@dataclass(frozen=True)
class Sent:
    """A record that stands where it may, with all that a signature needs."""

    record: Record
    value: bytes
    #: Federation and instance ("" where the key is the federation).
    address: Address
    envelope: Envelope
    key_id: str
    signature: bytes

    def signed(self) -> bool:
        """Tell whether the signature is that of the key."""
        return signing.verify(self.key_id, self.signature, self.envelope.type, self.record.topic, self.value)


@dataclass(frozen=True)
class Said:
    """What an authenticated record says: an event, or why it says nothing."""

    event: Inbound | None
    reason: Reason | None = None
    #: The sending time, where it is credible.
    sequence: int | None = None


def redriven(record: Record) -> tuple[str, int] | None:
    """Return where the original of a record stands that the operator sent again, and how often it was."""
    headers = dict(record.headers)
    place = rf"{re.escape(record.topic)}/[0-9]{{1,10}}/[0-9]{{1,19}}".encode()
    source, number = headers.get(REDRIVEN_FROM) or b"", headers.get(REDRIVES) or b""
    if re.fullmatch(place, source) is None or re.fullmatch(rb"[0-9]{1,3}", number) is None:
        return None
    return source.decode(), int(number)


def address_of(record: Record) -> Address | None:
    """Return what the key of a record says, if it is one."""
    try:
        match = _KEY.fullmatch((record.key or b"").decode("ascii"))
    except UnicodeDecodeError:
        return None
    return None if match is None else (match[1], match[2] or "")


def sent(  # noqa: PLR0911  (one for each gate)
    record: Record, types: Sequence[type[Inbound]], partitions: Mapping[str, int]
) -> Sent | Reason:
    """Return the record with its sender, or at which gate before the key it fails."""
    address = address_of(record)
    if len(record.value or b"") > MAX_RECORD_BYTES:
        return Reason.TOO_LARGE
    if not record.key:
        return Reason.NO_KEY
    if address is None:
        return Reason.KEY_MISMATCH
    if record.value is None:
        return Reason.TOMBSTONE
    hashed = address[0] if record.topic in _BY_FEDERATION else record.key.decode()
    if record.partition != key_partition(hashed, partitions[record.topic]):
        return Reason.WRONG_PARTITION
    envelope = _envelope(record, record.value, types)
    if isinstance(envelope, Reason):
        return envelope
    key_id = envelope.extensions.get(signing.KEY_HEADER, b"").decode("ascii", "replace")
    signature = envelope.extensions.get(signing.SIGNATURE_HEADER, b"")
    if not key_id or not signature:
        return Reason.UNSIGNED
    return Sent(record, record.value, address, envelope, key_id, signature)


def _envelope(record: Record, value: bytes, types: Sequence[type[Inbound]]) -> Envelope | Reason:
    if sum(len(name) + len(content or b"") for name, content in record.headers) > MAX_HEADER_BYTES:
        return Reason.BAD_HEADERS
    try:
        envelope = cloudevents.read(record.headers, value)
    except (ValueError, TypeError, AttributeError):  # the last for a header without a value
        return Reason.BAD_HEADERS
    if envelope.type not in {model.__name__ for model in types}:
        return Reason.UNKNOWN_TYPE
    schema = dict(record.headers).get("ce_dataschema")
    if schema is not None and schema != f"urn:flc:{envelope.type}:1".encode():
        return Reason.UNKNOWN_VERSION
    return envelope


def refusal_of_key(keys: Sequence[PublicKey], key_id: str, now_ms: int) -> Reason | None:
    """Return why none of the keys that are valid at ``now_ms`` (Unix ms) is this one, or None: one is."""
    own = next((key for key in keys if key.key == key_id), None)
    if own is None:
        return Reason.UNKNOWN_KEY
    if own.revoked:
        return Reason.REVOKED_KEY
    ended = own.not_after_ms is not None and now_ms > own.not_after_ms
    return Reason.KEY_NOT_VALID if ended or now_ms < own.not_before_ms else None


def said(one: Sent, types: Sequence[type[Inbound]], rules: Rules, max_behind_ms: int | None = None) -> Said:
    """Return what a record says that is signed by a key that may speak for its address."""
    model = next(model for model in types if model.__name__ == one.envelope.type)
    behind_ms = rules.max_behind_ms if max_behind_ms is None else max_behind_ms
    event = documents.parse(one.envelope.data, model)
    if isinstance(event, Reason):
        claimed = _claimed_sequence(one)
        late = claimed is not None and _untimely(claimed, one.record, rules.max_ahead_ms, behind_ms)
        return Said(None, event, None if late else claimed)
    if (event.federation, getattr(event, "instance_id", "")) != one.address:
        return Said(None, Reason.KEY_MISMATCH)
    sequence: int | None = getattr(event, "sequence", None)
    if sequence is None:
        return Said(event)
    reason = _untimely(sequence, one.record, rules.max_ahead_ms, behind_ms)
    return Said(event if reason is None else None, reason, sequence)


def _untimely(sequence: int, record: Record, ahead_ms: int, behind_ms: int) -> Reason | None:
    if sequence > record.append_ms + ahead_ms:
        return Reason.TOO_EARLY
    return Reason.TOO_OLD if sequence < record.append_ms - behind_ms else None


def _claimed_sequence(one: Sent) -> int | None:
    """Return the sequence of what is no event but, beyond doubt, the sender's own document."""
    document: dict[str, Any] | Reason = documents.read(one.envelope.data)
    if isinstance(document, Reason):
        return None
    own = (document.get("federation"), document.get("instance_id")) == one.address
    sequence = document.get("sequence")
    return sequence if own and type(sequence) is int and 0 <= sequence <= MAX_SEQUENCE else None
