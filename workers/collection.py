"""The collection phase: opens rounds, waits for what they announced, and decides who is in.

An update opens as soon as a report was judged, at a pace that leaves room for everything else. A
synchronization opens on its schedule or on command, announces itself, and closes when everybody has answered
or at its deadline. What depends on time and on the order between topics is decided here, once, and written
into the hand-over.
"""

from collections.abc import Iterator, Sequence
from itertools import islice

from schemas.commands import SynchronizationRequested
from schemas.convergence import (
    ConvergenceUpdated,
    RoundAbandoned,
    RoundEvent,
    RoundResult,
    SynchronizationAnnounced,
    SynchronizationCompleted,
)
from schemas.health import InstanceHealth
from schemas.rounds import CollectionCompleted, Phase, RoundKind
from workers import cohort
from workers.abandonment import abandon
from workers.collection_state import CollectionState, Rounds
from workers.fold import Context, Measure, Observation, Outcome, Record, Step
from workers.handover import emit, hand_over
from workers.internal import OneByOne, read, read_health
from workers.requests import Requests

#: A round of updates takes at most a fifth of the time: the next one waits four times as long as it took …
PACE = 4

#: … but no longer than this after its end: what took longer was held up by an outage, which is no reason to
#: hold up what comes after it …
MAX_PAUSE_MS = 5_000

#: … and a millisecond for every instance.
MS_PER_INSTANCE = 1


class Collection(OneByOne[CollectionState]):
    """From health, requests and time to CollectionCompleted, or RoundAbandoned below the quorum."""

    name = "collection"
    inputs = (SynchronizationRequested.topic, InstanceHealth.topic, RoundEvent.topic)
    outputs = (CollectionCompleted.topic, RoundEvent.topic)
    first = (InstanceHealth.topic,)

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._sync_window_ms = int(self.settings.sync_window_s * 1000)
        self._max_age_ms = self.settings.report_max_age_s * 1000
        self._requests = Requests(context, self.name)

    def state(self) -> CollectionState:
        """Return the empty state."""
        return CollectionState(self._sync_window_ms)

    def step(self, state: CollectionState, records: Sequence[Record]) -> Step:
        """Take all records, health first, then open and close the rounds that they call for."""
        step = super().step(state, records)
        for federation in state.touched.federations():
            self._advance(state, federation, state.touched.of(federation)[""], step, by_time=False)
            state.touched.delete(federation)
        return step

    def take(self, state: CollectionState, record: Record, step: Step) -> Outcome | None:
        """Fold one record: the health of an instance, a request, or what became of a round."""
        if record.topic == InstanceHealth.topic:
            return self._health(state, record, step)
        if record.topic == SynchronizationRequested.topic:
            return self._requests.take(state, record, step)
        return self._result(state, record)

    def deadline(self, state: CollectionState) -> int | None:
        """Return the earliest closing, window, waiting update or waiting request of all federations."""
        due = [state.rounds.of(federation)[""].due_ms() for federation in state.rounds.federations()]
        due.append(self._requests.deadline(state))
        return min((each for each in due if each is not None), default=None)

    def tick(self, state: CollectionState, now_ms: int) -> Step:
        """Settle, close and open what is due by now."""
        step = Step()
        self._requests.expire(state, now_ms, step)
        for federation in state.rounds.federations():
            due_ms = state.rounds.of(federation)[""].due_ms()
            if (due_ms is not None and due_ms <= now_ms) or state.touched.get(federation) is not None:
                self._advance(state, federation, now_ms, step, by_time=True)
                state.touched.delete(federation)
        return step

    def observe(self, state: CollectionState) -> Iterator[Observation]:
        """Tell which rounds are in flight, and how many synchronizations in a row came to nothing."""
        for federation in state.rounds.federations():
            rounds = state.rounds.get(federation)
            if rounds is not None:
                yield Observation(Measure.MISSED, (federation,), rounds.missed)
                for kind, opened_ms in rounds.opened():
                    yield Observation(Measure.OPENED, (federation, kind), opened_ms / 1000)

    def _health(self, state: CollectionState, record: Record, step: Step) -> Outcome:
        federation, instance_id, health = read_health(record)
        rounds = state.see(federation, record.append_ms)
        if rounds.deadline_ms is not None and record.append_ms >= rounds.deadline_ms:
            state.put_off(federation, instance_id, health)
        else:
            self._know(state, federation, instance_id, health, now_ms=record.append_ms, step=step)
        state.touch(federation, record.append_ms)
        return Outcome.ACCEPTED

    def _know(
        self,
        state: CollectionState,
        federation: str,
        instance_id: str,
        health: InstanceHealth | None,
        *,
        now_ms: int,
        step: Step,
    ) -> None:
        """Take what is known of an instance now."""
        if state.update_health(federation, instance_id, health):
            state.change(federation, update_due=True)
        self._requests.look_again(state, federation, instance_id, now_ms, step)

    def _result(self, state: CollectionState, record: Record) -> Outcome:
        event = read(record, ConvergenceUpdated, SynchronizationCompleted, RoundAbandoned)
        if not isinstance(event, RoundResult | RoundAbandoned):
            return Outcome.ACCEPTED
        federation = event.federation
        rounds = state.see(federation, record.append_ms)
        if event.number != _in_flight(rounds, event.kind):
            return Outcome.DUPLICATE
        if isinstance(event, RoundResult):
            for cover in event.covers:
                if state.health.get(federation, cover.instance_id) is not None:
                    state.covered.put(federation, f"{event.kind}/{cover.instance_id}", cover.sequence)
            if event.part < event.parts - 1:
                return Outcome.ACCEPTED
        if event.kind is RoundKind.SYNCHRONIZATION:
            missed = rounds.missed + 1 if isinstance(event, RoundAbandoned) else 0
            state.change(federation, synchronization_opened_ms=None, joined=(), missed=missed)
        else:
            self._update_ended(state, rounds, federation, record.append_ms)
        state.touch(federation, record.append_ms)
        return Outcome.ACCEPTED

    def _update_ended(self, state: CollectionState, rounds: Rounds, federation: str, now_ms: int) -> None:
        healths = state.health.of(federation).values()
        opened_ms = rounds.update_opened_ms or 0
        took_ms = now_ms - opened_ms
        wait_ms = max(
            self.settings.update_interval_ms,
            min(PACE * took_ms, took_ms + MAX_PAUSE_MS),
            MS_PER_INSTANCE * len(healths),
        )
        state.change(
            federation,
            update_opened_ms=None,
            update_not_before_ms=opened_ms + wait_ms,
            update_due=rounds.update_due
            or any(state.uncovered(RoundKind.UPDATE, health) for health in healths),
        )

    def _advance(
        self, state: CollectionState, federation: str, now_ms: int, step: Step, *, by_time: bool
    ) -> None:
        """Close the synchronization that collects, then open what may open; deadlines pass by time only."""
        rounds = state.rounds.of(federation)[""]
        if rounds.deadline_ms is not None and (
            (by_time and rounds.deadline_ms <= now_ms) or self._all_answered(state, federation, now_ms)
        ):
            self._close_synchronization(state, federation, now_ms, step)
            rounds = state.rounds.of(federation)[""]
        if rounds.synchronization_opened_ms is None and (
            rounds.queued or (by_time and rounds.next_window_ms <= now_ms)
        ):
            rounds = self._open_synchronization(state, federation, now_ms, step)
        if rounds.update_due and rounds.update_opened_ms is None and rounds.update_not_before_ms <= now_ms:
            number = rounds.updates + 1
            state.change(federation, updates=number, update_opened_ms=now_ms, update_due=False)
            self._close(state, federation, RoundKind.UPDATE, now_ms, step)

    def _open_synchronization(
        self, state: CollectionState, federation: str, now_ms: int, step: Step
    ) -> Rounds:
        rounds = state.rounds.of(federation)[""]
        number = rounds.synchronizations + 1
        deadline_ms = now_ms + self.settings.collection_deadline_ms
        for health in state.health.of(federation).values():
            # With a report that is too old only a newer one, which answers, brings an instance in.
            if health.admitted is not None and cohort.report_age_ms(health, now_ms) < self._max_age_ms:
                state.await_answer(health, health.admitted.sequence)
        kind = RoundKind.SYNCHRONIZATION
        round_id = f"{federation}/{kind}/{number}"
        announced = SynchronizationAnnounced(
            federation=federation,
            round_id=round_id,
            kind=kind,
            number=number,
            timestamp=now_ms,
            deadline_ms=deadline_ms,
        )
        step.emits.append(emit(self.context, announced, federation, f"{round_id}/announced", now_ms))
        # Everybody reports now: an update at once would get in its way. One that waits is not put off.
        pause_ms = 0 if rounds.update_due else self.settings.update_interval_ms
        return state.change(
            federation,
            update_not_before_ms=max(rounds.update_not_before_ms, now_ms + pause_ms),
            synchronizations=number,
            synchronization_opened_ms=now_ms,
            deadline_ms=deadline_ms,
            next_window_ms=now_ms + self._sync_window_ms,
            joined=rounds.queued,
            queued=(),
        )

    def _all_answered(self, state: CollectionState, federation: str, now_ms: int) -> bool:
        """Tell whether nobody is waited for; a cohort below the quorum may still grow until the deadline."""
        if state.unanswered.of(federation):
            return False
        quorum = self.settings.min_instances
        healths = state.health.of(federation).values()
        members = (each for each in healths if cohort.is_member(each, now_ms, self._max_age_ms))
        return sum(1 for _ in islice(members, quorum)) == quorum

    def _close_synchronization(
        self, state: CollectionState, federation: str, now_ms: int, step: Step
    ) -> None:
        self._close(state, federation, RoundKind.SYNCHRONIZATION, now_ms, step)
        state.change(federation, deadline_ms=None)
        state.await_nobody(federation)
        for instance_id, late in list(state.late.of(federation).items()):
            state.late.delete(federation, instance_id)
            if late.left:
                self._know(state, federation, instance_id, None, now_ms=now_ms, step=step)
            if late.health is not None:
                self._know(state, federation, instance_id, late.health, now_ms=now_ms, step=step)

    def _close(
        self, state: CollectionState, federation: str, kind: RoundKind, now_ms: int, step: Step
    ) -> None:
        """Hand over who is in, with which report; or abandon a synchronization below its quorum."""
        rounds = state.rounds.of(federation)[""]
        is_update = kind is RoundKind.UPDATE
        number = rounds.updates if is_update else rounds.synchronizations
        opened_ms = rounds.update_opened_ms if is_update else rounds.synchronization_opened_ms
        healths = [health for _, health in sorted(state.health.of(federation).items())]
        unanswered = () if is_update else state.unanswered.of(federation)
        instances = cohort.instances(healths, unanswered, now_ms, self._max_age_ms)
        completed = CollectionCompleted(
            federation=federation,
            round_id=f"{federation}/{kind}/{number}",
            kind=kind,
            number=number,
            part=0,
            parts=1,
            commands=() if is_update else rounds.joined,
            opened_at_ms=opened_ms or 0,
            next_window_ms=None if is_update else rounds.next_window_ms,
            phase_started_ms={Phase.COLLECTION: opened_ms or 0},
            configuration=self.settings.configuration(),
            instances=instances,
            covers=cohort.covers([each for each in healths if state.uncovered(kind, each)], instances),
        )
        if not is_update and instances.drop_reason.count(None) < self.settings.min_instances:
            step.emits.append(abandon(self.context, completed, instances, Phase.COLLECTION, now_ms))
            return
        step.emits += hand_over(self.context, completed, Phase.COLLECTION, now_ms)


def _in_flight(rounds: Rounds, kind: RoundKind) -> int | None:
    """Return the number of the round of this kind that is behind its collection or in it, or None."""
    if kind is RoundKind.UPDATE:
        return None if rounds.update_opened_ms is None else rounds.updates
    return None if rounds.synchronization_opened_ms is None else rounds.synchronizations
