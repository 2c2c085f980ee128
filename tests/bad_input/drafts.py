"""A good event of each kind that comes from outside, to be spoilt before or after it is signed."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import orjson
from nacl.signing import SigningKey

from schemas.commands import SynchronizationRequested
from schemas.event import Inbound
from schemas.instances import Heartbeat, InstanceRegistered
from schemas.knowledge import KnowledgeAcknowledged
from schemas.partitioning import key_partition
from schemas.reports import PatternReport
from tests.deployments import OPERATOR, Instance, key_of, signed_headers
from workers.fold import Record

#: Topics that are partitioned by federation.
_BY_FEDERATION = {SynchronizationRequested.topic, KnowledgeAcknowledged.topic}


@dataclass(frozen=True)
class Draft:
    """A good event that is not signed yet: ``document`` is its JSON, ``at_ms`` when it is sent."""

    model: type[Inbound]
    instance: str
    federation: str
    document: Mapping[str, Any]
    signer: SigningKey
    partitions: Mapping[str, int]
    at_ms: int

    @property
    def topic(self) -> str:
        return self.model.topic

    @property
    def json(self) -> bytes:
        return orjson.dumps(self.document)

    @property
    def key(self) -> str:
        commands = self.model is SynchronizationRequested
        return self.federation if commands else f"{self.federation}/{self.instance}"

    def record(
        self,
        value: bytes | None = None,
        *,
        by: SigningKey | None = None,
        topic: str | None = None,
        headers: Mapping[str, bytes] | None = None,
        **changes: Any,
    ) -> Record:
        """Return the signed record; ``topic`` is the one that is signed, ``changes`` are of the document."""
        body = orjson.dumps({**self.document, **changes}) if value is None else value
        signed = signed_headers(by or self.signer, self.model.__name__, topic or self.topic, body)
        by_federation = self.topic in _BY_FEDERATION
        partition = key_partition(self.federation if by_federation else self.key, self.partitions[self.topic])
        return Record(
            self.topic,
            partition,
            0,
            self.at_ms,
            self.key.encode(),
            body,
            tuple((signed | dict(headers or {})).items()),
        )

    def without(self, field: str) -> bytes:
        """Return the JSON without a field."""
        return orjson.dumps({name: value for name, value in self.document.items() if name != field})


def report(of: Instance, at_ms: int) -> Draft:
    return _draft(PatternReport, of, of.document(3, at_ms), of.signing_key, at_ms)


def heartbeat(of: Instance, at_ms: int) -> Draft:
    document = {"sequence": at_ms, "total_requests": 1, "pattern_count": 1}
    return _draft(Heartbeat, of, _named(of) | document, of.signing_key, at_ms)


def registration(of: Instance, at_ms: int) -> Draft:
    document = of.registration(2, metadata={"zone": "a"}).model_dump(mode="json")
    return _draft(InstanceRegistered, of, document, OPERATOR, at_ms)


def command(of: Instance, at_ms: int) -> Draft:
    document = {
        "federation": of.federation,
        "request_id": f"{of.name}-{at_ms}",
        "requested_by": None,
        "sequence": at_ms,
    }
    return _draft(SynchronizationRequested, of, document, OPERATOR, at_ms)


def acknowledgement(of: Instance, at_ms: int) -> Draft:
    document = {"round_id": f"{of.federation}/synchronization/1", "sequence": at_ms}
    return _draft(KnowledgeAcknowledged, of, _named(of) | document, of.signing_key, at_ms)


#: How a good event of each kind is made, by the topic that it travels on.
DRAFTS: Mapping[str, Callable[[Instance, int], Draft]] = {
    PatternReport.topic: report,
    Heartbeat.topic: heartbeat,
    InstanceRegistered.topic: registration,
    SynchronizationRequested.topic: command,
    KnowledgeAcknowledged.topic: acknowledgement,
}


def _named(of: Instance) -> dict[str, Any]:
    return {"federation": of.federation, "instance_id": of.name}


def _draft(
    model: type[Inbound], of: Instance, document: Mapping[str, Any], signer: SigningKey, at_ms: int
) -> Draft:
    return Draft(model, of.name, of.federation, document, signer, of.partitions, at_ms)


def elsewhere(record: Record, partitions: Mapping[str, int]) -> Record:
    """Return the record in a partition that its key does not hash to."""
    return replace(record, partition=(record.partition + 1) % partitions[record.topic])


def twice(record: Record) -> Record:
    """Return the record with its first header repeated."""
    return replace(record, headers=(*record.headers, record.headers[0]))


#: The key of somebody who has no business here.
MALLORY = key_of("mallory")
