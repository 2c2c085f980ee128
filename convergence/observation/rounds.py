"""The rounds: those that run, phase by phase, and those that ended, in the order of the convergence topic."""

import re
from bisect import bisect_right
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from convergence.observation.explanation import PhaseView
from schemas.convergence import (
    KnowledgeAnnounced,
    RoundAbandoned,
    RoundEvent,
    RoundResult,
    SynchronizationAnnounced,
    SynchronizationCompleted,
)
from schemas.event import NAME_FORM
from schemas.rounds import Phase, RoundKind

#: Rounds of both kinds that are remembered one by one: some minutes of the fastest updates, hours of others.
REMEMBERED = 1_000

#: Synchronizations that are remembered beside them: six weeks, one an hour.
SYNCHRONIZATIONS = 1_000

#: What is older is remembered by its last round of each minute, for a day.
POINTS = 1_440

_MINUTE_MS = 60_000

_ROUND_ID = re.compile(rf"{NAME_FORM}/(?P<kind>{'|'.join(RoundKind)})/(?P<number>[0-9]{{1,18}})")

#: After the hand-over of a type, the phase that runs.
NEXT_PHASE = {
    "CollectionCompleted": Phase.VALIDATION,
    "ValidationCompleted": Phase.AGGREGATION,
    "AggregationCompleted": Phase.DETECTION,
    "DetectionCompleted": Phase.DISTRIBUTION,
    "DistributionCompleted": Phase.VERIFICATION,
}


@dataclass(frozen=True, slots=True)
class RoundView:
    """A round that ended. ``offset`` is its place on the convergence topic, and its name for resuming."""

    offset: int
    kind: RoundKind
    number: int
    ended_ms: int
    outcome: str
    duration_ms: int | None
    convergence: float | None
    alignment: float | None
    variance: float | None
    emergence: float | None
    instances: int
    patterns: int | None
    emerged: int | None
    left_out: int
    #: Milliseconds of each phase, in their order; of updates only the whole is published.
    phases_ms: tuple[int, ...] | None
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Point:
    """The scores at a moment, for a chart over time."""

    at_ms: int
    convergence: float
    alignment: float
    variance: float
    emergence: float


@dataclass(frozen=True, slots=True)
class RunningRound:
    """A round that is under way. ``waits_for`` names a few of the instances that ``waits_count`` counts."""

    kind: RoundKind
    number: int
    phases: tuple[PhaseView, ...]
    deadline_ms: int | None
    waits_for: tuple[str, ...] = ()
    waits_count: int = 0

    @property
    def opened_ms(self) -> int:
        """When its first phase started, as far as it was seen."""
        return self.phases[0].started_ms

    @property
    def phase(self) -> Phase:
        """The phase that runs."""
        return self.phases[-1].phase


class Rounds:
    """The rounds of one federation; at most one of each kind runs."""

    def __init__(self) -> None:
        self._ended: deque[RoundView] = deque(maxlen=REMEMBERED)
        self._synchronizations: deque[RoundView] = deque(maxlen=SYNCHRONIZATIONS)
        self._points: deque[Point] = deque(maxlen=POINTS)
        self._running: dict[RoundKind, RunningRound] = {}
        self._last_number: dict[RoundKind, int] = {}

    @property
    def last_offset(self) -> int:
        """The offset of the last round that ended; -1 for none."""
        return self._ended[-1].offset if self._ended else -1

    def after(self, offset: int) -> Sequence[RoundView] | None:
        """Return what ended after a round, the oldest first; None if some of it is no longer remembered."""
        if len(self._ended) == REMEMBERED and offset < self._ended[0].offset:
            return None
        ended = list(self._ended)
        return ended[bisect_right(ended, offset, key=lambda one: one.offset) :]

    def latest(self, count: int) -> Sequence[RoundView]:
        """Return the last rounds of both kinds, the oldest first."""
        return list(self._ended)[-count:]

    def synchronizations(self, count: int) -> Sequence[RoundView]:
        """Return the last synchronizations, completed or not, the oldest first."""
        return list(self._synchronizations)[-count:]

    def find(self, kind: RoundKind, number: int) -> RoundView | None:
        """Return a round that ended, if it is remembered."""
        remembered = (*self._ended, *self._synchronizations)
        return next((one for one in remembered if (one.kind, one.number) == (kind, number)), None)

    def points(self) -> list[Point]:
        """Return the scores over time: a point a minute for a day, then every remembered round."""
        recent = [point for one in self._ended if (point := _point(one)) is not None]
        begins_ms = recent[0].at_ms if recent else 0
        return [*(point for point in self._points if point.at_ms < begins_ms), *recent]

    def running(self) -> Iterator[RunningRound]:
        """Yield what is under way, synchronizations first."""
        for kind in (RoundKind.SYNCHRONIZATION, RoundKind.UPDATE):
            if kind in self._running:
                yield self._running[kind]

    def publish(self, event: RoundEvent, offset: int) -> bool:
        """Take a whole event of the convergence topic; tell whether a round ended with it."""
        if isinstance(event, RoundResult | RoundAbandoned):
            return self._end(_view(event, offset))
        if isinstance(event, SynchronizationAnnounced):
            self._enter(event.kind, event.number, Phase.COLLECTION, event.timestamp, event.deadline_ms)
        elif isinstance(event, KnowledgeAnnounced):
            self._enter(event.kind, event.number, Phase.DISTRIBUTION, event.timestamp, event.deadline_ms)
        return False

    def hand_over(self, round_id: str, event_type: str, at_ms: int) -> None:
        """Take notice of a hand-over, of which only the type and the time matter here.

        One of another version, of a type or a kind that is not known here, is passed over.
        """
        found = _ROUND_ID.fullmatch(round_id)
        if found is not None and (phase := NEXT_PHASE.get(event_type)) is not None:
            self._enter(RoundKind(found["kind"]), int(found["number"]), phase, at_ms, None)

    def _enter(self, kind: RoundKind, number: int, phase: Phase, at_ms: int, deadline_ms: int | None) -> None:
        if number <= self._last_number.get(kind, 0):
            return
        if kind is RoundKind.UPDATE and phase is Phase.DISTRIBUTION:
            return  # an update has four phases
        running = self._running.get(kind)
        if running is None or running.number < number:
            first = PhaseView(phase, at_ms, None)
            self._running[kind] = RunningRound(kind, number, (first,), deadline_ms)
            return
        last = running.phases[-1]
        order = list(Phase)
        if order.index(phase) < order.index(last.phase):
            return  # two topics, read in any order
        if phase is last.phase:
            if deadline_ms is not None:
                self._running[kind] = replace(running, deadline_ms=deadline_ms)
            return
        ended = replace(last, duration_ms=max(0, at_ms - last.started_ms))
        phases = (*running.phases[:-1], ended, PhaseView(phase, at_ms, None))
        self._running[kind] = replace(running, phases=phases, deadline_ms=deadline_ms)

    def _end(self, view: RoundView) -> bool:
        if view.offset <= self.last_offset:
            return False
        if len(self._ended) == REMEMBERED and (point := _point(self._ended[0])) is not None:
            if self._points and self._points[-1].at_ms // _MINUTE_MS == point.at_ms // _MINUTE_MS:
                self._points.pop()
            self._points.append(point)
        self._ended.append(view)
        if view.kind is RoundKind.SYNCHRONIZATION:
            self._synchronizations.append(view)
        self._last_number[view.kind] = max(view.number, self._last_number.get(view.kind, 0))
        running = self._running.get(view.kind)
        if running is not None and running.number <= view.number:
            del self._running[view.kind]
        return True


def _view(event: RoundResult | RoundAbandoned, offset: int) -> RoundView:
    if isinstance(event, RoundAbandoned):
        return RoundView(
            offset=offset,
            kind=event.kind,
            number=event.number,
            ended_ms=event.timestamp,
            outcome="abandoned",
            duration_ms=None,
            convergence=None,
            alignment=None,
            variance=None,
            emergence=None,
            instances=event.instance_count,
            patterns=None,
            emerged=None,
            left_out=sum(event.dropped.values()),
            phases_ms=None,
            notes=(f"{event.reason} in {event.phase}: {event.instance_count} of {event.min_instances}",),
        )
    whole = event if isinstance(event, SynchronizationCompleted) else None
    return RoundView(
        offset=offset,
        kind=event.kind,
        number=event.number,
        ended_ms=event.timestamp,
        outcome="converged" if event.convergence_achieved else "not_converged",
        duration_ms=max(0, event.timestamp - event.opened_at),
        convergence=event.global_convergence,
        alignment=event.pattern_alignment,
        variance=event.convergence_variance,
        emergence=event.global_emergence,
        instances=event.instance_count,
        patterns=event.patterns_aggregated,
        emerged=whole.patterns_emerged if whole else None,
        left_out=sum(whole.dropped.values()) if whole else 0,
        phases_ms=tuple(whole.phase_duration_ms.get(phase, 0) for phase in list(Phase)[:-1])
        if whole
        else None,
        notes=whole.warnings if whole else (),
    )


def _point(view: RoundView) -> Point | None:
    if view.convergence is None or view.alignment is None or view.variance is None or view.emergence is None:
        return None
    return Point(view.ended_ms, view.convergence, view.alignment, view.variance, view.emergence)
