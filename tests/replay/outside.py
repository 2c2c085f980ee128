"""What comes from outside: instances and operators that do everything they do, and what nobody should."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from random import Random

from schemas.commands import SynchronizationRequested
from schemas.instances import InstanceRegistered
from schemas.reports import PatternReport
from tests.bad_input.classes import ANY_JSON, OF_INSTANCES, RECORDS, REPORT_JSON, REQUESTS, ROWS, of_json
from tests.bad_input.drafts import DRAFTS, acknowledgement, command
from tests.deployments import Instance
from workers.fold import Record


@dataclass
class Outside:
    """Makes the records of some instances, at random."""

    random: Random
    instances: Sequence[Instance]
    now_ms: Callable[[], int]
    patterns: int = 12
    sent: list[Record] = field(default_factory=list)
    _enrolments: dict[tuple[str, str], int] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        random: Random,
        federations: Mapping[str, int],
        partitions: Mapping[str, int],
        now_ms: Callable[[], int],
        patterns: int = 12,
    ) -> "Outside":
        """Return so many instances of each federation, of at most five organisations."""
        instances = [
            Instance(f"i{number}", f"o{number % 5}", federation, partitions=partitions)
            for federation, count in federations.items()
            for number in range(count)
        ]
        return cls(random, instances, now_ms, patterns)

    def enrol(self, instance: Instance) -> Record:
        """Register an instance, once more or for the first time."""
        return instance.registered(self._enrolment(instance), at_ms=self.now_ms())

    def _enrolment(self, instance: Instance) -> int:
        at = (instance.federation, instance.name)
        self._enrolments[at] = self._enrolments.get(at, 0) + 1
        return self._enrolments[at]

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
        return instance.report(rows, at_ms=self.now_ms())

    def bad(self, instance: Instance) -> Record:
        """Return an event of any kind, spoilt in any way."""
        draft = self.random.choice(list(DRAFTS.values()))(instance, self.now_ms())
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

    def record(self) -> Record:
        """Return the next thing that somebody sends."""
        record = self._any(self.random.choice(self.instances))
        self.sent.append(record)
        return record

    def _any(self, instance: Instance) -> Record:  # noqa: PLR0911  (one for each thing to do)
        draw, now_ms = self.random, self.now_ms()
        what = draw.random()
        if what < 0.45:
            return self.report(instance)
        if what < 0.53:
            return instance.beat(now_ms)
        if what < 0.66:
            return self.bad(instance)
        if what < 0.72 and self.sent:
            return self.again()
        if what < 0.77:
            return instance.deregistered(self._enrolment(instance), at_ms=now_ms)
        if what < 0.85:
            return self.enrol(instance)
        if what < 0.93:
            return command(instance, now_ms).record(request_id=f"r{now_ms}-{len(self.sent)}")
        number = draw.randint(1, 4)
        return acknowledgement(instance, now_ms).record(
            round_id=f"{instance.federation}/synchronization/{number}"
        )
