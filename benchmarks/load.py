"""The input of all figures: a federation whose every value follows from the number of the instance."""

import hashlib
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from nacl.signing import SigningKey

from convergence.outbound import Sender
from learning.cells import Cells, Members
from schemas import signing
from schemas.columns import ROW
from schemas.commands import SynchronizationRequested
from schemas.instances import Heartbeat, InstanceRegistered, PublicKey
from schemas.knowledge import KnowledgeAcknowledged
from schemas.reports import PatternReport
from workers.runtime.port import Message

WORDS = ("anomaly", "drift", "latency", "retry")

#: How often an instance is to show that it lives: the longest that it may register.
HEARTBEAT_PERIOD_S = 60

#: Names in the mathematics' own form that are micro-units.
_SHARES = ("strength", "resonance", "certainty")


@dataclass(frozen=True)
class Population:
    """Instances that each hold ``patterns`` of a pool of signatures, the k-th with a chance of 1/k (Zipf).

    Two instances share an organisation.
    """

    instances: int
    patterns: int
    pool: int

    @cached_property
    def signatures(self) -> np.ndarray:
        """The ids of the pool, V16."""
        digests = (hashlib.blake2b(b"%d" % n, digest_size=16).digest() for n in range(self.pool))
        return np.frombuffer(b"".join(digests), dtype="V16")

    @cached_property
    def rows(self) -> np.ndarray:
        """ROW[instances, patterns]; all pass the gates."""
        draw = np.random.default_rng(2026)
        log_chance = -np.log(np.arange(1, self.pool + 1))
        rows = np.zeros((self.instances, self.patterns), dtype=ROW)
        for of_instance in rows:
            # The largest of chance and Gumbel noise: drawn without putting back.
            noisy = log_chance + draw.gumbel(size=self.pool)
            held = np.argpartition(noisy, -self.patterns)[-self.patterns :]
            of_instance["signature"] = self.signatures[held]
            of_instance["pattern_type"] = held % len(WORDS)
        for name, least in zip(_SHARES, (600_000, 0, 860_000), strict=True):
            rows[name] = draw.integers(least, 1_000_001, size=rows.shape)
        rows["frequency"] = draw.integers(1, 1_000, size=rows.shape)
        return rows

    def organisation(self, instance: int) -> str:
        """Return the owner of an instance."""
        return f"organisation-{instance // 2}"

    def cells(self) -> Cells:
        """Return everything as the mathematics takes it."""
        member = np.repeat(np.arange(self.instances, dtype=np.int32), self.patterns)
        return Cells(member, self.rows.reshape(-1), WORDS)

    def members(self) -> Members:
        """Return the cohort that everybody is in, with weights from a half to one."""
        number = np.arange(self.instances)
        return Members((number // 2).astype(np.int32), 500_000 + number * 7_919 % 500_000)

    def report(self, federation: str, instance: int) -> PatternReport:
        """Return what an instance reports, with sequence 1."""
        rows = self.rows[instance]
        ids = rows["signature"].tobytes().hex()
        return PatternReport(
            federation=federation,
            instance_id=f"i{instance}",
            sequence=1,
            identity_scheme="hmac-sha256-v1",
            key_epoch=1,
            signature_id=tuple(ids[at : at + 32] for at in range(0, len(ids), 32)),
            pattern_type=tuple(WORDS[word] for word in rows["pattern_type"].tolist()),
            strength=tuple((rows["strength"] / 1e6).tolist()),
            resonance=tuple((rows["resonance"] / 1e6).tolist()),
            epistemic_certainty=tuple((rows["certainty"] / 1e6).tolist()),
            frequency=tuple(rows["frequency"].tolist()),
        )


class Federation:
    """A population on the bus: its keys, and its signed records with sequences that only grow."""

    def __init__(self, name: str, population: Population, partitions: Mapping[str, int]) -> None:
        self.name = name
        self.population = population
        self._senders = [
            Sender(name, f"i{number}", _key(number), partitions) for number in range(population.instances)
        ]
        self._reports = [population.report(name, number) for number in range(population.instances)]
        self._last = 0

    def registrations(self) -> list[Message]:
        """Return a self-signed registration of every instance."""
        return [
            sender.message(
                InstanceRegistered(
                    federation=self.name,
                    instance_id=f"i{number}",
                    instance_name=f"i{number}",
                    deployment_region="",
                    organisation=self.population.organisation(number),
                    enrolment=1,
                    heartbeat_period_s=HEARTBEAT_PERIOD_S,
                    public_keys=(PublicKey(key=signing.public_key(sender.key)),),
                ),
                1,
                _now_ms(),
            )
            for number, sender in enumerate(self._senders)
        ]

    def reports(self, count: int | None = None) -> list[Message]:
        """Return so many signed reports (one of each instance), the instances in turn."""
        return list(self._signed(self.population.instances if count is None else count))

    def acknowledgements(self, round_id: str) -> list[Message]:
        """Return what every instance says when it has the knowledge of a round."""
        sequence = self._next()
        return [
            sender.message(
                KnowledgeAcknowledged(
                    federation=self.name, instance_id=f"i{number}", round_id=round_id, sequence=sequence
                ),
                sequence,
                sequence,
            )
            for number, sender in enumerate(self._senders)
        ]

    def heartbeats(self) -> list[Message]:
        """Return a sign of life of every instance."""
        sequence = self._next()
        return [
            sender.message(
                Heartbeat(
                    federation=self.name,
                    instance_id=f"i{number}",
                    sequence=sequence,
                    total_requests=1_000,
                    pattern_count=self.population.patterns,
                ),
                sequence,
                sequence,
            )
            for number, sender in enumerate(self._senders)
        ]

    def command(self, request_id: str) -> Message:
        """Return the first instance's request for a synchronization."""
        sequence = self._next()
        requested = SynchronizationRequested(
            federation=self.name, request_id=request_id, requested_by="i0", sequence=sequence
        )
        return self._senders[0].message(requested, sequence, sequence)

    def _signed(self, count: int) -> Iterator[Message]:
        sequence = 0
        for number in range(count):
            instance = number % self.population.instances
            if instance == 0:
                sequence = self._next()
            event = self._reports[instance].model_copy(update={"sequence": sequence})
            yield self._senders[instance].message(event, sequence, sequence)

    def _next(self) -> int:
        self._last = max(self._last + 1, _now_ms())
        return self._last


def contents(messages: Sequence[Message]) -> int:
    """Return the bytes of keys and values."""
    return sum(len(message.key or b"") + len(message.value or b"") for message in messages)


def _key(number: int) -> SigningKey:
    return SigningKey(hashlib.blake2b(b"instance %d" % number, digest_size=32).digest())


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
