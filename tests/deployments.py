"""Deployments as the bus sees them: instances with a key that make signed records."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson
from nacl.signing import SigningKey

from schemas import cloudevents, signing
from schemas.event import Inbound
from schemas.instances import Heartbeat, InstanceDeregistered, InstanceRegistered
from schemas.partitioning import key_partition
from schemas.reports import PatternReport
from workers.fold import Context, Record
from workers.settings import Settings

#: Where the clock of the tests starts, Unix ms.
NOW_MS = 1_800_000_000_000

#: Every topic has one partition unless a test says otherwise; the contributions have three buckets.
PARTITIONS = {
    "flc.instances.v1": 1,
    "flc.heartbeats.v1": 1,
    "flc.reports.v1": 1,
    "flc.admissions.v1": 1,
    "flc.contributions.v1": 3,
    "flc.partials.v1": 1,
    "flc.health.v1": 1,
    "flc.commands.v1": 1,
    "flc.rounds.v1": 1,
    "flc.knowledge.v1": 3,
    "flc.acknowledgements.v1": 1,
    "flc.convergence.v1": 1,
    "flc.dead-letters.v1": 1,
}


def key_of(name: str) -> SigningKey:
    """Return a key that is the same in every run."""
    return SigningKey(name.encode().ljust(32, b".")[:32])


OPERATOR = key_of("operator")


def settings(**changes: Any) -> Settings:
    """Return settings that do not look at the environment's .env file, with our operator."""
    keys = {"default": signing.public_key(OPERATOR), "other": signing.public_key(OPERATOR)}
    return Settings(_env_file=None, **({"operator_keys": keys} | changes))


def context(partition: int = 0, partitions: Mapping[str, int] | None = None, **changes: Any) -> Context:
    """Return where a fold stands; ``changes`` are settings."""
    return Context(partition, PARTITIONS | dict(partitions or {}), settings(**changes))


def signed_headers(key: SigningKey, event_type: str, topic: str, value: bytes) -> dict[str, bytes]:
    """Return the headers of a signed event."""
    plain = dict(cloudevents.headers("an-id", event_type, "/a/client", NOW_MS))
    return plain | signing.sign(key, event_type, topic, value)


@dataclass
class Instance:
    """A deployment: it makes the records that it would send; offsets count up over all of them."""

    name: str = "alpha"
    organisation: str = "acme"
    federation: str = "default"
    key: SigningKey | None = None
    partitions: Mapping[str, int] = field(default_factory=lambda: PARTITIONS)
    offset: int = 0

    @property
    def signing_key(self) -> SigningKey:
        """The key that it signs with."""
        return self.key or key_of(self.name)

    @property
    def public_key(self) -> str:
        """The public half, hex."""
        return signing.public_key(self.signing_key)

    def registration(self, enrolment: int = 1, **changes: Any) -> InstanceRegistered:
        """Return its registration."""
        fields: dict[str, Any] = {
            "federation": self.federation,
            "instance_id": self.name,
            "instance_name": self.name.title(),
            "deployment_region": "eu",
            "organisation": self.organisation,
            "enrolment": enrolment,
            "public_keys": ({"key": self.public_key},),
        }
        return InstanceRegistered.model_validate_json(orjson.dumps(fields | changes))

    def registered(
        self, enrolment: int = 1, *, by: SigningKey = OPERATOR, at_ms: int = NOW_MS, **changes: Any
    ) -> Record:
        """Return the record of its registration, signed by the operator."""
        return self.record(self.registration(enrolment, **changes), by=by, at_ms=at_ms)

    def deregistered(self, enrolment: int = 2, *, by: SigningKey = OPERATOR, at_ms: int = NOW_MS) -> Record:
        """Return the record of its deregistration."""
        event = InstanceDeregistered(federation=self.federation, instance_id=self.name, enrolment=enrolment)
        return self.record(event, by=by, at_ms=at_ms)

    def beat(self, at_ms: int = NOW_MS, sequence: int | None = None) -> Record:
        """Return a heartbeat, sent when it is appended unless ``sequence`` says otherwise."""
        event = Heartbeat(
            federation=self.federation,
            instance_id=self.name,
            sequence=at_ms if sequence is None else sequence,
            total_requests=1,
            pattern_count=1,
        )
        return self.record(event, at_ms=at_ms)

    def report(
        self, rows: int | list[dict[str, Any]] = 3, at_ms: int = NOW_MS, sequence: int | None = None
    ) -> Record:
        """Return a report of so many good rows, or of these rows (fields that are left out are good)."""
        document = self.document(rows, at_ms if sequence is None else sequence)
        return self.raw(orjson.dumps(document), at_ms=at_ms)

    def document(self, rows: int | list[dict[str, Any]] = 3, sequence: int = NOW_MS) -> dict[str, Any]:
        """Return the JSON document of a report."""
        wanted = [{} for _ in range(rows)] if isinstance(rows, int) else rows
        full = [good_row(index) | row for index, row in enumerate(wanted)]
        columns = {name: [row[name] for row in full] for name in good_row(0)}
        return {
            "federation": self.federation,
            "instance_id": self.name,
            "sequence": sequence,
            "identity_scheme": "hmac-sha256-v1",
            "key_epoch": 1,
        } | columns

    def record(self, event: Inbound, *, by: SigningKey | None = None, at_ms: int = NOW_MS) -> Record:
        """Return the signed record of an event."""
        return self.raw(event.encode(), type(event), by=by, at_ms=at_ms)

    def raw(
        self,
        value: bytes,
        model: type[Inbound] = PatternReport,
        *,
        by: SigningKey | None = None,
        at_ms: int = NOW_MS,
        headers: Mapping[str, bytes] | None = None,
    ) -> Record:
        """Return a record with any value, signed; ``headers`` replace or add."""
        signed = signed_headers(by or self.signing_key, model.__name__, model.topic, value)
        key = f"{self.federation}/{self.name}"
        offset, self.offset = self.offset, self.offset + 1
        partition = key_partition(key, self.partitions[model.topic])
        all_headers = tuple((signed | dict(headers or {})).items())
        return Record(model.topic, partition, offset, at_ms, key.encode(), value, all_headers)


def good_row(index: int) -> dict[str, Any]:
    """Return a row that is accepted; each index has its own signature, spread over the buckets."""
    return {
        "signature_id": f"{index:08x}{index * 7919 + 1:024x}",
        "pattern_type": "latency",
        "strength": 0.9,
        "resonance": 0.8,
        "epistemic_certainty": 0.95,
        "frequency": 10,
    }
