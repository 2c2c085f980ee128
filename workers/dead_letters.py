"""Dead letters: what the bus keeps of a record that could not be taken, never what was in it."""

from functools import cache
from hashlib import blake2b
from importlib.metadata import PackageNotFoundError, version

from schemas.dead_letters import DeadLetter
from schemas.reasons import Reason
from workers.fold import Context, Emit, Record

#: Name of the distribution whose version a letter carries.
DISTRIBUTION = "federated-learning-convergence"


def refuse(
    record: Record, reason: Reason, stage: str, context: Context, federation: str | None = None
) -> Emit:
    """Return the letter for ``record``.

    ``stage`` is the worker that refuses; ``federation`` is None where the record does not credibly say it.
    """
    value = record.value or b""
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
        version=_version(),
    )
    source = f"{record.topic}/{record.partition}/{record.offset}"
    partition = record.partition % context.partitions[DeadLetter.topic]
    return Emit(DeadLetter.topic, partition, source, letter, f"{source}/{reason}", record.append_ms)


def _digest(value: bytes, context: Context) -> str:
    # Keyed, so that nobody without the key can confirm a guess of the payload; blake2b takes 64 bytes of key.
    key = context.settings.dead_letter_key.get_secret_value().encode()[:64]
    return blake2b(value, key=key, digest_size=16).hexdigest()


@cache
def _version() -> str:
    try:
        return version(DISTRIBUTION)
    except PackageNotFoundError:  # run from a source tree that is not installed
        return "0+source"
