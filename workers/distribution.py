"""The distribution phase: announces a synchronization's knowledge and counts who has it.

The knowledge itself stands already on its topic: every bucket has written what changed and a mark. Awaited
are the instances that answered the announcement of the round; a missing acknowledgement is a warning, never a
failure.
"""

from dataclasses import dataclass, replace

from pydantic import TypeAdapter

from schemas.convergence import KnowledgeAnnounced
from schemas.event import Event
from schemas.health import InstanceHealth
from schemas.instances import PublicKey
from schemas.knowledge import KnowledgeAcknowledged
from schemas.reasons import Reason
from schemas.rounds import DetectionCompleted, DistributionCompleted, Phase, RoundKind
from workers import dead_letters, inbound
from workers.fold import Outcome, Record, State, Step, Table
from workers.handover import Parts, emit, hand_over, join, split
from workers.internal import OneByOne, read, read_health

_KEYS: TypeAdapter[tuple[PublicKey, ...]] = TypeAdapter(tuple[PublicKey, ...])


@dataclass(frozen=True, slots=True)
class Waiting:
    """The synchronization whose acknowledgements are awaited."""

    round_id: str
    started_ms: int
    deadline_ms: int
    parts: int
    #: How many of the awaited instances have not acknowledged.
    missing: int


class DistributionState(State):
    """Keys of the instances, and the synchronization of every federation that is being distributed."""

    def __init__(self) -> None:
        self.detections = Parts(DetectionCompleted)
        #: instance_id -> the keys that may sign for it.
        self.keys: Table[tuple[PublicKey, ...]] = Table("keys", tuple[PublicKey, ...], encode=_KEYS.dump_json)
        self.waiting: Table[Waiting] = Table("waiting", Waiting)
        #: part -> the result to hand on.
        self.detected: Table[DetectionCompleted] = Table("detected", DetectionCompleted, encode=Event.encode)
        #: instance_id -> whether it has acknowledged; the awaited ones only.
        self.awaited: Table[bool] = Table("awaited", bool)
        super().__init__(*self.detections.tables(), self.keys, self.waiting, self.detected, self.awaited)


class Distribution(OneByOne[DistributionState]):
    """From DetectionCompleted of a synchronization and acknowledgements to DistributionCompleted."""

    name = "distribution"
    inputs = (DetectionCompleted.topic, InstanceHealth.topic, KnowledgeAcknowledged.topic)
    outputs = (KnowledgeAnnounced.topic, DistributionCompleted.topic)
    first = (InstanceHealth.topic,)

    def state(self) -> DistributionState:
        """Return the empty state."""
        return DistributionState()

    def take(self, state: DistributionState, record: Record, step: Step) -> Outcome:
        """Take keys, announce what was detected, complete what everybody has acknowledged."""
        if record.topic == InstanceHealth.topic:
            return _health(state, record)
        if record.topic == KnowledgeAcknowledged.topic:
            return self._acknowledged(state, record, step)
        return self._detected(state, record, step)

    def deadline(self, state: DistributionState) -> int | None:
        """Return the earliest deadline of all federations."""
        waiting = (state.waiting.of(federation)[""] for federation in state.waiting.federations())
        return min((each.deadline_ms for each in waiting), default=None)

    def tick(self, state: DistributionState, now_ms: int) -> Step:
        """Complete what has waited long enough."""
        step = Step()
        for federation in state.waiting.federations():
            if state.waiting.of(federation)[""].deadline_ms <= now_ms:
                self._complete(state, federation, now_ms, step)
        return step

    def _detected(self, state: DistributionState, record: Record, step: Step) -> Outcome:
        part = read(record, DetectionCompleted)
        if part is None or part.kind is RoundKind.UPDATE:
            return Outcome.ACCEPTED
        if state.detections.seen(part):
            return Outcome.DUPLICATE
        if (parts := state.detections.take(part)) is not None:
            self._announce(state, join(parts), record.append_ms, step)
        return Outcome.ACCEPTED

    def _announce(
        self, state: DistributionState, detected: DetectionCompleted, now_ms: int, step: Step
    ) -> None:
        federation = detected.federation
        deadline_ms = now_ms + self.settings.acknowledgement_deadline_ms
        announced = KnowledgeAnnounced(
            federation=federation,
            round_id=detected.round_id,
            kind=detected.kind,
            number=detected.number,
            timestamp=now_ms,
            deadline_ms=deadline_ms,
        )
        event_id = f"{detected.round_id}/knowledge-announced"
        step.emits.append(emit(self.context, announced, federation, event_id, now_ms))
        instances = detected.instances
        for instance, reason, straggler in zip(
            instances.instance_id, instances.drop_reason, instances.straggler, strict=True
        ):
            if reason is None and not straggler:
                state.awaited.put(federation, instance, False)  # noqa: FBT003
        parts = list(split(detected))
        waiting = Waiting(
            detected.round_id, now_ms, deadline_ms, len(parts), len(state.awaited.of(federation))
        )
        for each in parts:
            state.detected.put(federation, f"{each.part:07d}", each)
        state.waiting.put(federation, "", waiting)
        if waiting.missing == 0:
            self._complete(state, federation, now_ms, step)

    def _acknowledged(self, state: DistributionState, record: Record, step: Step) -> Outcome:
        def authority(address: inbound.Address, _type: str, key_id: str, now_ms: int) -> Reason | None:
            keys = state.keys.get(address.federation, address.instance_id)
            if keys is None:
                return Reason.UNKNOWN_INSTANCE
            return inbound.registered_key(keys, key_id, now_ms)

        opened = inbound.open_record(record, (KnowledgeAcknowledged,), authority, self.context)
        if isinstance(opened, inbound.Refusal):
            letter = dead_letters.refuse(record, opened.reason, self.name, self.context, opened.federation)
            step.emits.append(letter)
            return Outcome.DEAD_LETTERED
        event = opened.event
        waiting = state.waiting.get(event.federation)
        acknowledged = state.awaited.get(event.federation, event.instance_id)
        if waiting is None or waiting.round_id != event.round_id or waiting.deadline_ms <= record.append_ms:
            return Outcome.STALE
        if acknowledged:
            return Outcome.DUPLICATE
        if acknowledged is None:
            return Outcome.ACCEPTED  # welcome, but nobody waits for a straggler or a newcomer
        state.awaited.put(event.federation, event.instance_id, True)  # noqa: FBT003
        waiting = replace(waiting, missing=waiting.missing - 1)
        state.waiting.put(event.federation, "", waiting)
        if waiting.missing == 0:
            self._complete(state, event.federation, record.append_ms, step)
        return Outcome.ACCEPTED

    def _complete(self, state: DistributionState, federation: str, now_ms: int, step: Step) -> None:
        waiting = state.waiting.of(federation)[""]
        keys = [f"{part:07d}" for part in range(waiting.parts)]
        detected = join([state.detected.of(federation)[key] for key in keys])
        awaited = sorted(state.awaited.of(federation).items())
        completed = DistributionCompleted.model_construct(
            None,
            **dict(detected)
            | {
                "phase_started_ms": detected.phase_started_ms | {Phase.DISTRIBUTION: waiting.started_ms},
                "acknowledged": tuple(instance for instance, acknowledged in awaited if acknowledged),
                "missing": tuple(instance for instance, acknowledged in awaited if not acknowledged),
            },
        )
        step.emits += hand_over(self.context, completed, Phase.DISTRIBUTION, now_ms)
        for key in keys:
            state.detected.delete(federation, key)
        for instance, _ in awaited:
            state.awaited.delete(federation, instance)
        state.waiting.delete(federation)


def _health(state: DistributionState, record: Record) -> Outcome:
    federation, instance_id, health = read_health(record)
    if health is None:
        state.keys.delete(federation, instance_id)
    elif state.keys.get(federation, instance_id) != health.public_keys:
        state.keys.put(federation, instance_id, health.public_keys)
    return Outcome.ACCEPTED
