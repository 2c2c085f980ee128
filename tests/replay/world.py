"""Logs to be replayed: random federations with everything that instances do, and what they should not do."""

from dataclasses import replace
from random import Random

from convergence.replay.log import Log, gathered
from convergence.replay.rules import Rules
from schemas.commands import SynchronizationRequested
from schemas.instances import InstanceRegistered
from schemas.reports import PatternReport
from schemas.signing import public_key
from tests.bad_input.classes import ANY_JSON, OF_INSTANCES, RECORDS, REPORT_JSON, REQUESTS, ROWS, of_json
from tests.bad_input.drafts import DRAFTS
from tests.deployments import OPERATOR, Instance
from tests.workers.line import Line
from workers.catalogue import WORKERS
from workers.fold import Record

#: What the workers of these worlds judge by.
RULES = Rules(operator_keys=dict.fromkeys(("default", "other"), public_key(OPERATOR)))

#: Far behind everything: whatever is missing is missing.
SETTLED_MS = 1 << 60


class World:
    """Two federations, and the nine workers that take what their instances send."""

    def __init__(self, seed: int, patterns: int = 12) -> None:
        self.random = Random(seed)  # noqa: S311
        self.line = Line(
            self.random.choice((1, 2, 3)),
            workers=WORKERS.values(),
            batch=self.random.choice((1, 4, 1_000)),
            release_threshold=self.random.choice((2, 3, 5)),
            collection_deadline_ms=1_000,
            acknowledgement_deadline_ms=500,
            heartbeat_timeout_s=20,
            aggregation_method=self.random.choice(("mean", "median")),
        )
        self.patterns = patterns
        self.instances = [
            Instance(f"i{number}", f"o{number % 5}", federation, partitions=self.line.partitions)
            for federation, count in (("default", 7), ("other", 4))
            for number in range(count)
        ]
        self.enrolments = {(each.federation, each.name): 0 for each in self.instances}
        self.sent: list[Record] = []
        self.requests = 0

    # -- what instances and operators do

    def send(self, record: Record) -> None:
        """Append what somebody sends, now."""
        self.sent.append(record)
        key = None if record.key is None else record.key.decode("latin-1")
        self.line.append(record.topic, record.partition, key, record.value, dict(record.headers))

    def enrol(self, instance: Instance) -> None:
        """Register an instance, once more or for the first time."""
        number = self.enrolments[instance.federation, instance.name] = self._enrolment(instance)
        self.send(instance.registered(number, at_ms=self.line.now_ms))

    def leave(self, instance: Instance) -> None:
        """Deregister an instance."""
        number = self.enrolments[instance.federation, instance.name] = self._enrolment(instance)
        self.send(instance.deregistered(number, at_ms=self.line.now_ms))

    def _enrolment(self, instance: Instance) -> int:
        return self.enrolments[instance.federation, instance.name] + 1

    def report(self, instance: Instance) -> Record:
        """Return a report with rows of every kind, good ones above all."""
        draw = self.random
        rows = []
        for index in range(self.patterns):
            if draw.random() < 0.8:
                row: dict[str, object] = {
                    "signature_id": f"{index:08x}" + "ab" * 12,
                    "strength": draw.randint(80, 100) / 100,
                    "resonance": draw.random(),
                    "epistemic_certainty": draw.choice((0.95, 0.99, 0.9)),
                    "frequency": draw.choice((1, 7, 2**31 - 1)),
                }
                if draw.random() < 0.1:
                    row |= draw.choice(ROWS).row
                rows.append(row)
        return instance.report(rows, at_ms=self.line.now_ms)

    def bad(self, instance: Instance) -> Record:
        """Return an event of any kind, spoilt in any way."""
        draft = self.random.choice(list(DRAFTS.values()))(instance, self.line.now_ms)
        spoil = [*RECORDS, *(of_json(*each) for each in ANY_JSON)]
        if draft.model is PatternReport:
            spoil += [of_json(*each) for each in REPORT_JSON]
        if draft.model is SynchronizationRequested:
            spoil += REQUESTS
        elif draft.model is not InstanceRegistered:
            spoil += OF_INSTANCES
        return self.random.choice(spoil).spoil(draft)

    def again(self) -> Record:
        """Return what was sent before: as a replay, or redriven by the operator."""
        record = self.random.choice(self.sent)
        if self.random.random() < 0.5:
            return record
        source = f"{record.topic}/{record.partition}/0".encode()
        redriven = {"flc_redriven_from": source, "flc_redrives": b"1"}
        return replace(record, headers=tuple((dict(record.headers) | redriven).items()))

    def act(self) -> None:
        """Let one thing happen."""
        draw, line = self.random, self.line
        instance = draw.choice(self.instances)
        what = draw.random()
        if what < 0.45:
            self.send(self.report(instance))
        elif what < 0.55:
            self.send(instance.beat(line.now_ms))
        elif what < 0.70:
            self.send(self.bad(instance))
        elif what < 0.75 and self.sent:
            self.send(self.again())
        elif what < 0.80:
            self.leave(instance)
        elif what < 0.88:
            self.enrol(instance)
        elif what < 0.94:
            self.requests += 1
            line.ask(f"request-{self.requests}", federation=instance.federation)
        else:
            number = draw.randint(1, 4)
            line.acknowledge(instance.name, f"default/synchronization/{number}")
        if draw.random() < 0.5:
            line.run()
        line.now_ms += draw.choice((0, 0, 1, 40))
        if draw.random() < 0.15:
            line.wait(draw.choice((100, 600, 2_000)))

    def play(self, actions: int) -> "World":
        """Enrol everybody, let things happen, and let the workers come to an end."""
        for instance in self.instances:
            self.enrol(instance)
        for _ in range(actions):
            self.act()
        self.line.wait(3_000)
        return self

    def log(self, settled_ms: int = SETTLED_MS) -> Log:
        """Return what a reader finds."""
        return log_of(self.line, self.line.log, settled_ms)


def log_of(line: Line, records: list[Record], settled_ms: int = SETTLED_MS) -> Log:
    """Return records as a log in which retention has removed nothing."""
    starts = {(topic, number): 0 for topic, count in line.partitions.items() for number in range(count)}
    return Log(gathered(records), starts, settled_ms)
