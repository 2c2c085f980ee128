"""The fold: every record that the operator may see, into what the operator sees."""

from dataclasses import dataclass, replace
from typing import Any

import orjson

from convergence.events import event_type, read
from convergence.observation.explanation import NAMED, Explanation, explain, explain_abandoned
from convergence.observation.instances import Instances, InstancesView
from convergence.observation.patterns import Patterns, PatternsView
from convergence.observation.refusals import Refusals, RefusalsView
from convergence.observation.rounds import Rounds, RoundView, RunningRound
from convergence.observation.workers import Workers, WorkerView
from convergence.parts import Parts
from schemas.convergence import PatternEmerged, RoundAbandoned, RoundEvent, RoundResult
from schemas.dead_letters import DeadLetter
from schemas.health import InstanceHealth
from schemas.knowledge import AggregatedPattern, KnowledgeMark
from schemas.reports import Admission
from schemas.rounds import CollectionCompleted, DetectionCompleted, HandOver, Phase, RoundKind
from workers.fold import Record
from workers.validation import validated

#: What is read. None of it is classified raw, and contributions and partials are not among it either: what
#: is not released cannot be shown, because it is not known.
TOPICS = (
    InstanceHealth.topic,
    Admission.topic,
    HandOver.topic,
    RoundEvent.topic,
    AggregatedPattern.topic,
    DeadLetter.topic,
)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything that an operator sees at a moment, bounded whatever the size of the federation."""

    federation: str
    #: Broker time of the latest record; None: there is none.
    as_of_ms: int | None
    last: RoundView | None
    #: The last result, and why it is not better.
    explanation: Explanation | None
    #: The last round that was abandoned, if the last synchronization was.
    abandoned: Explanation | None
    running: tuple[RunningRound, ...]
    instances: InstancesView
    patterns: PatternsView
    #: Patterns that the last synchronization kept back; no more is known of them than how many they are.
    withheld: int | None
    refusals: RefusalsView
    workers: tuple[WorkerView, ...]


def encoded(view: Any) -> bytes:
    """Return a view, or several, as JSON."""
    return orjson.dumps(view, option=orjson.OPT_NON_STR_KEYS)


class Observation:
    """What was read of one federation so far. Order between topics does not matter; within one it does."""

    def __init__(self, federation: str) -> None:
        self.federation = federation
        self.rounds = Rounds()
        self.instances = Instances()
        self.patterns = Patterns()
        self.refusals = Refusals()
        self.workers = Workers()
        self.as_of_ms: int | None = None
        self._results: Parts[RoundEvent] = Parts()
        self._hand_overs: Parts[HandOver] = Parts()
        self._collected: CollectionCompleted | None = None
        self._detected: dict[RoundKind, DetectionCompleted] = {}
        self._explanation: Explanation | None = None
        self._abandoned: Explanation | None = None
        self._withheld: int | None = None

    def take(self, record: Record) -> None:
        """Fold one record of one of ``TOPICS``; what is of another federation changes nothing."""
        if record.topic == DeadLetter.topic:
            self._letter(record)
        elif record.topic == InstanceHealth.topic:
            self._health(record)
        elif record.topic == HandOver.topic:
            self._hand_over(record)
        elif record.topic == AggregatedPattern.topic:
            self._knowledge(record)
        elif record.topic == Admission.topic:
            if (admission := read(record, Admission)) is not None and self._ours(admission.federation):
                self.instances.admit(admission, record.append_ms)
                self.refusals.admit(admission)
                self._at(record)
        elif (event := read(record, RoundEvent)) is not None and self._ours(event.federation):
            self._published(event, record)

    def snapshot(self, now_ms: int) -> Snapshot:
        """Return what is to be seen; ``now_ms`` judges the commits of the workers."""
        latest = self.rounds.latest(1)
        return Snapshot(
            federation=self.federation,
            as_of_ms=self.as_of_ms,
            last=latest[0] if latest else None,
            explanation=self._explanation,
            abandoned=self._abandoned,
            running=tuple(map(self._waiting, self.rounds.running())),
            instances=self.instances.summary(),
            patterns=self.patterns.view(),
            withheld=self._withheld,
            refusals=self.refusals.view(),
            workers=self.workers.views(now_ms),
        )

    def _ours(self, federation: str | None) -> bool:
        return federation == self.federation

    def _at(self, record: Record) -> None:
        self.as_of_ms = max(record.append_ms, self.as_of_ms or 0)

    def _letter(self, record: Record) -> None:
        try:
            letter = DeadLetter.model_validate_json(record.value or b"")
        except ValueError:
            return
        # A record that does not say whose it is may have been meant for us.
        if letter.federation in {None, self.federation}:
            self.refusals.refuse(letter, record.append_ms)
            self._at(record)

    def _health(self, record: Record) -> None:
        federation, _, instance_id = (record.key or b"").decode("ascii", "replace").partition("/")
        if not self._ours(federation):
            return
        if record.value is None:
            self.instances.forget(instance_id)
        elif (health := read(record, InstanceHealth)) is not None:
            self.instances.see(health)
        self._at(record)

    def _knowledge(self, record: Record) -> None:
        federation, _, pattern_id = (record.key or b"").decode("ascii", "replace").partition("/")
        if record.value is None:
            if self._ours(federation):
                self.patterns.withdraw(pattern_id)
            return
        event = read(record, AggregatedPattern, KnowledgeMark)
        if event is None or not self._ours(event.federation):
            return
        if isinstance(event, AggregatedPattern):
            self.patterns.release(event)
        elif isinstance(event, KnowledgeMark):
            self.patterns.mark(event)
        self._at(record)

    def _hand_over(self, record: Record) -> None:
        round_id, kind = (record.key or b"").decode("ascii", "replace"), event_type(record)
        if not round_id.startswith(f"{self.federation}/") or kind is None:
            return
        self._at(record)
        self.rounds.hand_over(round_id, kind, record.append_ms)
        # Only what is shown is parsed: the results, and collections that may yet be abandoned.
        update = f"/{RoundKind.UPDATE}/" in round_id
        if kind in {"ValidationCompleted", "AggregationCompleted"} or (
            update and kind == "CollectionCompleted"
        ):
            return
        event = read(record, HandOver)
        whole = None if event is None else self._hand_overs.add(event, record.offset)
        if isinstance(whole, CollectionCompleted):
            self._collected = whole
        elif isinstance(whole, DetectionCompleted):
            self._result(whole, record.append_ms)

    def _result(self, detected: DetectionCompleted, at_ms: int) -> None:
        before = self._detected.get(detected.kind)
        if before is not None and before.number > detected.number:
            return
        self._detected[detected.kind] = detected
        latest = max(self._detected.values(), key=lambda one: one.phase_started_ms[Phase.DETECTION])
        if latest is detected:
            self.instances.score(detected)
            self._explanation = explain(detected, ended_ms=at_ms)
        if detected.releases is not None:
            self._withheld = detected.releases.withheld

    def _published(self, event: RoundEvent, record: Record) -> None:
        self._at(record)
        if isinstance(event, PatternEmerged):
            self.patterns.emerge(event.pattern_id, event.number)
        elif (whole := self._results.add(event, record.offset)) is not None:
            self.rounds.publish(whole, record.offset)
            if isinstance(whole, RoundAbandoned):
                self._abandoned = self._explain_abandoned(whole)
            elif isinstance(whole, RoundResult) and whole.kind is RoundKind.SYNCHRONIZATION:
                self._abandoned = None

    def _explain_abandoned(self, event: RoundAbandoned) -> Explanation:
        collected = self._collected
        if collected is not None and collected.round_id == event.round_id:
            # The validation found the quorum missing, and handed nothing over.
            instances = validated(collected.instances, collected.configuration)
            return explain(collected.model_copy(update={"instances": instances}), event)
        return explain_abandoned(event, self.instances.inactive())

    def _waiting(self, running: RunningRound) -> RunningRound:
        """Name whom a collection waits for."""
        if running.kind is RoundKind.UPDATE or running.phase is not Phase.COLLECTION:
            return running
        awaited = self.instances.awaited(running.opened_ms)
        return replace(running, waits_for=tuple(awaited[:NAMED]), waits_count=len(awaited))
