"""Writing to the bus: signed events, each with its key, its partition and its CloudEvents headers."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache

from nacl.signing import SigningKey

from convergence.errors import TooManyPatterns
from convergence.keys import FederationKey
from convergence.patterns import Pattern
from schemas import cloudevents, signing
from schemas.event import MAX_REPORT_ROWS, Inbound
from schemas.partitioning import key_partition
from schemas.reports import PatternReport
from workers.inbound import BY_FEDERATION
from workers.runtime.port import Message


@dataclass(frozen=True, slots=True)
class Sender:
    """Who signs: an instance, or the operator (``name`` None)."""

    federation: str
    name: str | None
    key: SigningKey
    partitions: Mapping[str, int]

    def message(self, event: Inbound, version: int, time_ms: int) -> Message:
        """Return the signed record of the event, sent at ``time_ms`` (Unix ms).

        ``version`` is its sequence or its enrolment: with sender and type it is the event's identity.
        """
        kind = type(event).__name__
        subject: str | None = getattr(event, "instance_id", None)
        key = self.federation if subject is None else f"{self.federation}/{subject}"
        partition_key = self.federation if event.topic in BY_FEDERATION else key
        value = event.encode()
        headers = cloudevents.headers(
            f"{key}/{kind}/{version}", kind, self._source(), time_ms, subject or self.name
        )
        return Message(
            event.topic,
            key_partition(partition_key, self.partitions[event.topic]),
            key.encode(),
            value,
            (*headers, *signing.sign(self.key, kind, event.topic, value).items()),
        )

    def _source(self) -> str:
        return f"/flc/{self.federation}/" + ("operator" if self.name is None else f"instances/{self.name}")


def report(
    federation: str, instance_id: str, sequence: int, key: FederationKey, patterns: Iterable[Pattern]
) -> PatternReport:
    """Return the report of all patterns that an instance holds; identities are hashed here, at the edge.

    Two patterns of one identity travel as two rows, of which the federation takes the first. Raises
    TooManyPatterns.
    """
    rows = tuple(patterns)
    if len(rows) > MAX_REPORT_ROWS:
        raise TooManyPatterns(len(rows), MAX_REPORT_ROWS)
    return PatternReport(
        federation=federation,
        instance_id=instance_id,
        sequence=sequence,
        identity_scheme="hmac-sha256-v1",
        key_epoch=key.epoch,
        signature_id=tuple(
            row.signature_id
            or _signature_id(key.secret, row.pattern_type, row.modules, row.event_types, row.pattern_id)
            for row in rows
        ),
        pattern_type=tuple(row.pattern_type for row in rows),
        strength=tuple(row.strength for row in rows),
        resonance=tuple(row.resonance for row in rows),
        epistemic_certainty=tuple(row.epistemic_certainty for row in rows),
        frequency=tuple(row.frequency for row in rows),
    )


@lru_cache(maxsize=16_384)
def _signature_id(
    secret: bytes, pattern_type: str, modules: tuple[str, ...], event_types: tuple[str, ...], pattern_id: str
) -> str:
    """Return the identity of a pattern; from report to report most patterns stay the same."""
    from learning.identity import signature_id  # noqa: PLC0415

    return signature_id(secret, pattern_type, modules, event_types, pattern_id)
