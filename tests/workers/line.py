"""The folds in a row without a runtime: one log, one clock, every task stepped until nothing is left.

Instances are made by hand: their InstanceHealth and Contributions stand where the health and the privacy
worker would have written them.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np

from convergence.replay.reference import Row
from schemas import cloudevents
from schemas.catalogue import EVENTS
from schemas.columns import ROW
from schemas.commands import SynchronizationRequested
from schemas.event import MAX_RECORD_BYTES, Event, Inbound
from schemas.health import Admitted, InstanceHealth, Judged, Status
from schemas.instances import PublicKey
from schemas.knowledge import KnowledgeAcknowledged
from schemas.partitioning import key_partition
from schemas.reports import Contribution
from schemas.signing import public_key
from tests.deployments import NOW_MS, OPERATOR, key_of, settings, signed_headers
from workers.aggregation import Aggregation
from workers.collection import Collection
from workers.consensus import Consensus
from workers.contributions import Entry, contributions
from workers.detection import Detection
from workers.distribution import Distribution
from workers.fold import Context, Emit, Outcome, Record, State, Step, Worker
from workers.validation import Validation
from workers.verification import Verification

PHASES: tuple[type[Worker[Any]], ...] = (
    Collection,
    Validation,
    Consensus,
    Aggregation,
    Detection,
    Distribution,
    Verification,
)

#: Partitions of the topics that are not bucketed.
PARTITIONS = 2

E = TypeVar("E", bound=Event)


@dataclass
class Task:
    """A worker on one partition: its state, what its changelog would hold, and how far it has read."""

    worker: Worker[Any]
    state: State
    partition: int
    position: int = 0
    changelog: dict[bytes, bytes] = field(default_factory=dict)

    def restart(self) -> None:
        """Throw the state away and restore it from the changelog."""
        for key, value in self.state.changes():
            if value is None:
                self.changelog.pop(key, None)
            else:
                self.changelog[key] = value
        self.state = self.worker.state()
        for key, value in self.changelog.items():
            self.state.load(key, value)
        self.state.flushed()


class Line:
    """A log, and the tasks of the seven workers (or of these) on all of its partitions."""

    def __init__(
        self,
        buckets: int = 3,
        *,
        workers: Iterable[type[Worker[Any]]] = PHASES,
        restarting: bool = False,
        batch: int = 1_000_000,
        **changes: Any,
    ) -> None:
        self.now_ms = NOW_MS
        self.restarting = restarting
        self.batch = batch
        self.partitions = {event.topic: PARTITIONS for event in EVENTS.values()} | {
            Contribution.topic: buckets,
            "flc.knowledge.v1": buckets,
        }
        self.settings = settings(**changes)
        self.log: list[Record] = []
        self.handled: Counter[tuple[str, str, Outcome]] = Counter()
        self.ids: Counter[tuple[str, str]] = Counter()
        self.read: Counter[tuple[str, str]] = Counter()
        self._offsets: Counter[tuple[str, int]] = Counter()
        self.tasks = []
        for worker in workers:
            for partition in range(self.partitions[worker.inputs[0]]):
                fold = worker(Context(partition, self.partitions, self.settings))
                self.tasks.append(Task(fold, fold.state(), partition))

    # --- the log

    def append(
        self, topic: str, partition: int, key: str | None, value: bytes | None, headers: Mapping[str, bytes]
    ) -> Record:
        """Append a record now."""
        assert len(value or b"") <= MAX_RECORD_BYTES
        offset = self._offsets[topic, partition]
        self._offsets[topic, partition] += 1
        record = Record(
            topic,
            partition,
            offset,
            self.now_ms,
            None if key is None else key.encode(),
            value,
            tuple(headers.items()),
        )
        self.log.append(record)
        return record

    def emit(self, emit: Emit, worker: str, partition: int) -> None:
        """Append what a worker publishes, as the runtime would encode it."""
        source = f"/flc/{worker}/{partition}"
        self.ids[source, emit.id] += 1
        if emit.event is None:
            self.append(emit.topic, emit.partition, emit.key, None, {})
            return
        event_type = type(emit.event).__name__
        headers = dict(cloudevents.headers(emit.id, event_type, source, emit.time_ms))
        self.append(emit.topic, emit.partition, emit.key, emit.event.encode(), headers)

    def publish(self, event: Event, key: str | None, partition: int, event_id: str) -> None:
        """Append an event of the workers that are not in the line."""
        self.emit(Emit(event.topic, partition, key, event, event_id, self.now_ms), "test", 0)

    def events(self, kind: type[E]) -> list[E]:
        """Return all events of a type, in the order of the log."""
        name = kind.__name__.encode()
        return [
            kind.model_validate_json(record.value)
            for record in self.log
            if record.value is not None and dict(record.headers).get("ce_type") == name
        ]

    # --- time

    def run(self) -> None:
        """Step every task until there is nothing left to read."""
        busy = True
        while busy:
            busy = sum(self._step(task) for task in self.tasks) > 0

    def step(self, worker: str) -> None:
        """Step the tasks of one worker once, as if the others were busy."""
        for task in self.tasks:
            if task.worker.name == worker:
                self._step(task)

    def step_partition(self, worker: str, partition: int) -> None:
        """Step one task once."""
        for task in self.tasks:
            if (task.worker.name, task.partition) == (worker, partition):
                self._step(task)

    def turn(self, task: Task) -> None:
        """Let one task read what there is and handle what is due, as if the others were busy."""
        while self._step(task):
            pass
        deadline = task.worker.deadline(task.state)
        if deadline is not None and deadline <= self.now_ms:
            self._publish(task, task.worker.tick(task.state, self.now_ms))

    def wait(self, ms: int) -> None:
        """Let time pass: everything is read, then what falls due is handled, deadline by deadline."""
        self.run()
        end_ms = self.now_ms + ms
        while True:
            due = [
                (deadline, task)
                for task in self.tasks
                if (deadline := task.worker.deadline(task.state)) is not None and deadline <= end_ms
            ]
            if not due:
                break
            deadline, task = min(due, key=lambda each: each[0])
            self.now_ms = max(self.now_ms, deadline)
            self._publish(task, task.worker.tick(task.state, self.now_ms))
            self.run()
        self.now_ms = end_ms

    def _step(self, task: Task) -> bool:
        records: list[Record] = []
        while task.position < len(self.log) and len(records) < self.batch:
            record = self.log[task.position]
            task.position += 1
            if record.topic in task.worker.inputs and record.partition == task.partition:
                records.append(record)
        if not records:
            return False
        step = task.worker.step(task.state, records)
        for record in records:
            self.read[task.worker.name, record.topic] += 1
        self._publish(task, step)
        return True

    def _publish(self, task: Task, step: Step) -> None:
        for (topic, outcome), count in step.handled.items():
            self.handled[task.worker.name, topic, outcome] += count
        for emit in step.emits:
            assert emit.topic in (*task.worker.outputs, "flc.dead-letters.v1")
            self.emit(emit, task.worker.name, task.partition)
        if self.restarting:
            task.restart()

    # --- instances

    def federation_partition(self, federation: str = "default") -> int:
        """Return the partition of a federation."""
        return key_partition(federation, PARTITIONS)

    def contribute(
        self,
        entries: Mapping[str, tuple[str, int, Mapping[str, Row]]],
        *,
        removed: bool = False,
        federation: str = "default",
    ) -> None:
        """Append contributions to every bucket: instance -> (organisation, sequence, rows)."""
        words = sorted({row[0] for _, _, rows in entries.values() for row in rows.values()})
        cells = [
            (bytes.fromhex(signature), strength, resonance, certainty, frequency, words.index(word))
            for _, _, rows in entries.values()
            for signature, (word, strength, resonance, certainty, frequency) in rows.items()
        ]
        owners = [index for index, (_, _, rows) in enumerate(entries.values()) for _ in rows]
        for bucket, contribution in contributions(
            federation,
            [Entry(name, of, sequence, removed) for name, (of, sequence, _) in entries.items()],
            np.array(cells, dtype=ROW),
            np.array(owners, dtype=np.int64),
            words,
            bucket_count=self.partitions[Contribution.topic],
        ):
            self.publish(contribution, None, bucket, f"contribution/{len(self.log)}")

    def see(self, name: str, sequence: int | None, **changes: Any) -> InstanceHealth:
        """Append the health of an instance whose report ``sequence`` was admitted now; None: it has none."""
        fields: dict[str, Any] = {
            "federation": "default",
            "instance_id": name,
            "organisation": name,
            "status": Status.ACTIVE,
            "reliability": 1_000_000,
            "data_quality": 1_000_000,
            "pattern_count": 3,
            "weight": 500_000,
            "last_seen_ms": self.now_ms,
            "admitted": None if sequence is None else Admitted(sequence=sequence, append_ms=self.now_ms),
            "judged": None if sequence is None else Judged(sequence=sequence, outcome="admitted"),
            "public_keys": (PublicKey(key=public_key(key_of(name))),),
        }
        health = InstanceHealth(**(fields | changes))
        key = f"{health.federation}/{name}"
        self.publish(health, key, self.federation_partition(health.federation), f"health/{len(self.log)}")
        return health

    def forget(self, name: str, federation: str = "default") -> None:
        """Append the tombstone of an instance's health."""
        self.append(
            InstanceHealth.topic,
            self.federation_partition(federation),
            f"{federation}/{name}",
            None,
            {},
        )

    def report(
        self,
        name: str,
        rows: Mapping[str, Row],
        sequence: int,
        organisation: str | None = None,
        **changes: Any,
    ) -> None:
        """Append what an admitted report leaves behind: contributions in every bucket, and health."""
        of = organisation or name
        self.contribute({name: (of, sequence, rows)})
        self.see(name, sequence, organisation=of, pattern_count=len(rows), **changes)

    def ask(self, request_id: str, *, by: str | None = None, key: str | None = None, **changes: Any) -> None:
        """Append a signed request for a synchronization; of the operator, or of an instance."""
        fields: dict[str, Any] = {
            "federation": "default",
            "request_id": request_id,
            "requested_by": by,
            "sequence": self.now_ms,
        }
        request = SynchronizationRequested(**(fields | changes))
        self._signed(request, request.federation, OPERATOR if by is None else key_of(key or by))

    def acknowledge(self, name: str, round_id: str, *, key: str | None = None) -> None:
        """Append the signed acknowledgement of an instance."""
        event = KnowledgeAcknowledged(
            federation="default", instance_id=name, round_id=round_id, sequence=self.now_ms
        )
        self._signed(event, f"default/{name}", key_of(key or name))

    def _signed(self, event: Inbound, key: str, signer: Any) -> None:
        value = event.encode()
        headers = signed_headers(signer, type(event).__name__, event.topic, value)
        self.append(event.topic, self.federation_partition(event.federation), key, value, headers)


def signature(number: int) -> str:
    """Return a signature id; consecutive numbers fall into different buckets."""
    return f"{number:08x}" + "ab" * 12


def shared_rows(count: int = 3, strength: int = 900_000) -> dict[str, Row]:
    """Return a report's rows, the same signatures in every call."""
    return {signature(number): ("slow", strength, 800_000, 950_000, 7) for number in range(count)}


def names(count: int) -> Iterator[str]:
    """Yield names of instances, in their order."""
    return (f"instance-{number:05d}" for number in range(count))
