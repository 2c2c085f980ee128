"""A federation in one process: the rounds that the workers run on the bus, computed from the same functions.

Nothing is decided here a second time. Reports are judged by ``learning.admission``, an instance lives by
``workers.vitals``, the cohort is that of ``workers.cohort`` and ``workers.validation``, participation
counts as in ``workers.consensus``, and aggregates and scores come from ``learning``. Only the transport is
missing, and with it buckets, barriers and public rounding.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from convergence.errors import NotRegistered
from convergence.keys import FederationKey
from convergence.outbound import report
from convergence.patterns import Pattern
from learning import admission, weights
from learning.admission import Thresholds
from learning.aggregation import Aggregates, Method, aggregate
from learning.cells import Cells, Members
from learning.packed import pack
from learning.partial import partial
from learning.scores import Scores, score
from schemas.columns import ROW
from schemas.health import Status
from schemas.reasons import RowReason
from schemas.rounds import Configuration, RoundInstances
from workers.aggregation_state import codes_of, with_words
from workers.cohort import drop_reason
from workers.consensus import Attendance
from workers.health import TICK_MS
from workers.sums import members
from workers.validation import validated
from workers.vitals import Accounting, Vitals

#: How often an instance is expected to give a sign of life: the default of a registration.
PERIOD_MS = 30_000

_NAME = "local"


@dataclass(frozen=True, slots=True)
class Member:
    """One instance: who owns it, its life, and what it holds."""

    organisation: str
    vitals: Vitals = field(default_factory=lambda: Vitals(PERIOD_MS))
    #: Packed, of the dtype ``ROW``; the pattern types point at the federation's words.
    rows: bytes = b""


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of the rows of a report."""

    received: int
    accepted: int
    rejected: Mapping[RowReason, int]


@dataclass(frozen=True, slots=True)
class Round:
    """A round up to its scores; the order of the cohort is that of ``instance_ids``."""

    instances: RoundInstances
    instance_ids: tuple[str, ...]
    members: Members
    cells: Cells
    aggregates: Aggregates
    scores: Scores

    @property
    def library(self) -> int:
        """How many signatures are in the library."""
        return int(self.aggregates.in_library.sum())

    def outcome(self, instance_id: str) -> str:
        """Return what a cover would say of an instance with an admitted report: included, or why not."""
        reason = self.instances.drop_reason[self.instances.instance_id.index(instance_id)]
        return "included" if reason is None else str(reason)


class LocalFederation:
    """The state of a federation in one process. Times are Unix ms, values micro-units."""

    def __init__(
        self, key: FederationKey, thresholds: Thresholds, configuration: Configuration, timeout_ms: int
    ) -> None:
        self.members: dict[str, Member] = {}
        self.words: dict[str, int] = {}
        self._key = key
        self._thresholds = thresholds
        self._configuration = configuration
        self._timeout_ms = timeout_ms
        self._attendance: dict[str, Attendance] = {}
        self._synchronizations = 0
        self._looked_ms = 0

    def join(self, instance_id: str, organisation: str) -> None:
        """Register an instance, or change its organisation."""
        known = self.members.get(instance_id)
        self.members[instance_id] = (
            Member(organisation) if known is None else replace(known, organisation=organisation)
        )

    def member(self, instance_id: str) -> Member:
        """Return an instance; raises NotRegistered."""
        if instance_id not in self.members:
            raise NotRegistered(instance_id)
        return self.members[instance_id]

    def beat(self, instance_id: str, now_ms: int) -> None:
        """Take a heartbeat; raises NotRegistered."""
        member = self.member(instance_id)
        self._live(instance_id, member.vitals.beat(now_ms, now_ms))

    def take(self, instance_id: str, patterns: Iterable[Pattern], now_ms: int) -> Taken:
        """Take everything that an instance holds now, in place of what it held; raises NotRegistered."""
        member = self.member(instance_id)
        before = member.vitals.admitted_sequence
        sequence = now_ms if before is None else max(before + 1, now_ms)
        event = report(_NAME, instance_id, sequence, self._key, patterns)
        verdict = admission.judge([pack(event)], self._thresholds)
        rejected = verdict.rejected(0)
        taken = Taken(len(event.signature_id), verdict.accepted(0), rejected)
        rows = verdict.rows.copy()
        self.words = with_words(self.words, verdict.words)
        rows["pattern_type"] = codes_of(self.words, verdict.words)[rows["pattern_type"]]
        accounting = Accounting(
            taken.received,
            taken.accepted,
            rejected.get(RowReason.LOW_CERTAINTY, 0),
            rejected.get(RowReason.LOW_QUALITY, 0),
        )
        vitals = member.vitals.admit(now_ms, sequence, accounting)
        self.members[instance_id] = replace(member, vitals=vitals, rows=rows.tobytes())
        return taken

    def look(self, instance_id: str, now_ms: int) -> Status:
        """Return how an instance lives, after however much silence; raises NotRegistered."""
        member = self.member(instance_id)
        self._live(instance_id, member.vitals.silent(now_ms, 0, self._timeout_ms))
        return self.members[instance_id].vitals.status

    def _live(self, instance_id: str, vitals: Vitals) -> None:
        self.members[instance_id] = replace(self.members[instance_id], vitals=vitals)

    def _look_at_all(self, now_ms: int) -> None:
        if now_ms - self._looked_ms >= TICK_MS:
            self._looked_ms = now_ms
            for instance_id in self.members:
                self.look(instance_id, now_ms)

    def instances(
        self, reliability: Mapping[str, int], now_ms: int, min_weight: int | None = None
    ) -> RoundInstances:
        """Return every instance that has reported, with weight and drop reason: collected and validated."""
        self._look_at_all(now_ms)
        reporting = [
            (name, member, member.vitals, member.vitals.data_quality)
            for name, member in sorted(self.members.items())
            if member.vitals.admitted_ms is not None
        ]
        floor = self._configuration.min_instance_weight if min_weight is None else min_weight
        max_age_ms = self._configuration.report_max_age_ms
        collected = RoundInstances.model_construct(
            None,
            instance_id=tuple(name for name, _, _, _ in reporting),
            organisation=tuple(member.organisation for _, member, _, _ in reporting),
            status=tuple(vitals.status for _, _, vitals, _ in reporting),
            sequence=tuple(vitals.admitted_sequence or 0 for _, _, vitals, _ in reporting),
            rows=tuple(vitals.pattern_count for _, _, vitals, _ in reporting),
            data_quality=tuple(quality for _, _, _, quality in reporting),
            weight=tuple(
                weights.weight(reliability[name], quality, vitals.pattern_count, floor)
                for name, _, vitals, quality in reporting
            ),
            straggler=(False,) * len(reporting),
            drop_reason=tuple(
                drop_reason(vitals.status, now_ms - (vitals.admitted_ms or 0), max_age_ms)
                for _, _, vitals, _ in reporting
            ),
        )
        return validated(collected, self._configuration)

    def round(self, instances: RoundInstances, *, synchronization: bool = False) -> Round:
        """Compute a round over the cohort of ``instances``; a synchronization counts for participation."""
        if synchronization:
            self._synchronizations += 1
        since = self._synchronizations - 1 if synchronization else self._synchronizations
        for name in instances.instance_id:
            self._attendance.setdefault(name, Attendance(since))
        rows = [row for row, reason in enumerate(instances.drop_reason) if reason is None]
        names = tuple(instances.instance_id[row] for row in rows)
        cohort = members(
            [instances.organisation[row] for row in rows], [instances.weight[row] for row in rows]
        )
        held = [self.members[name].rows for name in names]
        cells = Cells(
            np.repeat(np.arange(len(held), dtype=np.int32), [len(each) // ROW.itemsize for each in held]),
            np.frombuffer(b"".join(held), ROW),
            tuple(self.words) or ("",),
        )
        aggregates = aggregate(cells, cohort, Method(self._configuration.method, self._configuration.trim))
        attended = [self._attendance[name] for name in names]
        scores = score(
            partial(cells, cohort, aggregates),
            cohort,
            [(attendance.bits.bit_count(), attendance.counted) for attendance in attended],
        )
        if synchronization:
            self._attend(frozenset(names))
        return Round(instances, names, cohort, cells, aggregates, scores)

    def _attend(self, cohort: frozenset[str]) -> None:
        for name, attendance in self._attendance.items():
            self._attendance[name] = attendance.after(self._synchronizations, member=name in cohort)
