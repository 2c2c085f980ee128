"""Dead letters: what the bus keeps of a record that could not be taken, never what was in it.

A redriven record is the original one, byte for byte, at a new position: the operator had it sent again. Two
headers say so, which are not signed and so grant nothing that the signature does not.
"""

import re
from hashlib import blake2b

from schemas.dead_letters import DeadLetter
from schemas.reasons import Reason
from workers.fold import Context, Emit, Record
from workers.version import code_version

#: Header of a redriven record: where the original stands, topic/partition/offset.
REDRIVEN_FROM = "flc_redriven_from"

#: Header of a redriven record: how often it has been redriven, this time included.
REDRIVES = "flc_redrives"

_POSITION = re.compile(rb"/[0-9]{1,10}/[0-9]{1,19}")
_NUMBER = re.compile(rb"[0-9]{1,3}")


def redriven(record: Record) -> tuple[str, int] | None:
    """Return where the original of a redriven record stands and how often it was redriven, or None."""
    headers = dict(record.headers)
    source, number = headers.get(REDRIVEN_FROM) or b"", headers.get(REDRIVES) or b""
    topic = record.topic.encode()
    # Anybody can write anything there, and a letter repeats it.
    if not (
        source.startswith(topic) and _POSITION.fullmatch(source, len(topic)) and _NUMBER.fullmatch(number)
    ):
        return None
    return source.decode(), int(number)


def refuse(
    record: Record, reason: Reason, stage: str, context: Context, federation: str | None = None
) -> Emit:
    """Return the letter for ``record``.

    ``stage`` is the worker that refuses; ``federation`` is None where the record does not credibly say it.
    """
    value = record.value or b""
    source, redrives = redriven(record) or (None, 0)
    letter = DeadLetter(
        federation=federation,
        reason=reason,
        stage=stage,
        source_topic=record.topic,
        source_partition=record.partition,
        source_offset=record.offset,
        last_offset=record.offset,
        length=len(value),
        digest=_digest(value, context),
        append_ms=record.append_ms,
        version=code_version(),
        redriven_from=source,
        redrives=redrives,
    )
    place = f"{record.topic}/{record.partition}/{record.offset}"
    partition = record.partition % context.partitions[DeadLetter.topic]
    return Emit(DeadLetter.topic, partition, place, letter, f"{place}/{reason}", record.append_ms)


def _digest(value: bytes, context: Context) -> str:
    # Keyed, so that nobody without the key can confirm a guess of the payload; blake2b takes 64 bytes of key.
    key = context.settings.dead_letter_key.get_secret_value().encode()[:64]
    return blake2b(value, key=key, digest_size=16).hexdigest()
