"""Rounds as they were decided and computed: flc.rounds.v1, in micro-units, parts joined."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from convergence.errors import UnknownRound
from convergence.events import event_type, read
from convergence.observation.explanation import Explanation, explain, explain_abandoned
from convergence.parts import Parts, R
from convergence.topics import everything, partition_of
from schemas.convergence import RoundAbandoned, RoundEvent, RoundResult
from schemas.rounds import CollectionCompleted, DetectionCompleted, HandOver
from workers.fold import Record
from workers.runtime.port import Bus
from workers.validation import validated

#: The result of a round is appended so soon after its last hand-over.
_COMMIT_MS = 2_000

#: Behind everything that is there.
FOR_EVER_MS = 2**53


@dataclass(frozen=True, slots=True)
class RoundRecord:
    """Everything that is known of a round."""

    round_id: str
    #: By event type: CollectionCompleted … DistributionCompleted, as far as the round came.
    hand_overs: Mapping[str, HandOver]
    #: What was published of it, in order.
    published: tuple[RoundEvent, ...]


async def list_rounds(bus: Bus, federation: str, limit: int = 20) -> list[DetectionCompleted]:
    """Return the last ``limit`` rounds that came to a result, the oldest first."""
    partition = await partition_of(bus, HandOver.topic, federation)
    found: dict[str, list[Record]] = {}
    async for record in everything(bus, (partition,)):
        round_id = (record.key or b"").decode("ascii", "replace")
        if not round_id.startswith(f"{federation}/") or event_type(record) != DetectionCompleted.__name__:
            continue
        found.setdefault(round_id, []).append(record)
        if len(found) > limit:
            del found[next(iter(found))]
    return [whole for records in found.values() for whole in _whole(records, DetectionCompleted)]


async def results_since(bus: Bus, federation: str, since_ms: int) -> list[RoundResult]:
    """Return the results that were published from ``since_ms`` (Unix ms, broker time) on."""
    partition = await partition_of(bus, RoundEvent.topic, federation)
    records = [record async for record in everything(bus, (partition,), (since_ms, FOR_EVER_MS))]
    return [event for event in _whole(records, RoundResult) if event.federation == federation]


async def show_round(bus: Bus, round_id: str, between_ms: tuple[int, int] | None = None) -> RoundRecord:
    """Return everything that is known of a round; raises UnknownRound.

    With ``between_ms`` (when it opened and ended) only that time is read, not the whole topics.
    """
    if between_ms is not None:
        between_ms = between_ms[0], between_ms[1] + _COMMIT_MS
    federation = round_id.partition("/")[0]
    key = round_id.encode()
    on_rounds = await partition_of(bus, HandOver.topic, federation)
    hand_overs = _whole(
        [r async for r in everything(bus, (on_rounds,), between_ms) if r.key == key], HandOver
    )
    on_convergence = await partition_of(bus, RoundEvent.topic, federation)
    # The id is looked for before anything is parsed: the topic holds every round of the federation.
    published = _whole(
        [
            r
            async for r in everything(bus, (on_convergence,), between_ms)
            if r.value is not None and key in r.value
        ],
        RoundEvent,
    )
    published = [event for event in published if event.round_id == round_id]
    if not hand_overs and not published:
        raise UnknownRound(f"nothing is known of the round {round_id}")
    return RoundRecord(round_id, {type(event).__name__: event for event in hand_overs}, tuple(published))


def explain_round(found: RoundRecord, inactive: Sequence[str] = ()) -> Explanation:
    """Explain a round; ``inactive``: who was not active, for one whose collection fell short."""
    abandoned = next((event for event in found.published if isinstance(event, RoundAbandoned)), None)
    results = [event for event in found.published if isinstance(event, RoundResult)]
    if found.hand_overs:
        last = list(found.hand_overs.values())[-1]
        if abandoned is not None and isinstance(last, CollectionCompleted):
            # The validation found the quorum missing, and handed nothing over.
            last = last.model_copy(update={"instances": validated(last.instances, last.configuration)})
        return explain(last, abandoned, ended_ms=results[-1].timestamp if results else None)
    if abandoned is None:
        raise UnknownRound(f"the hand-overs of {found.round_id} are no longer on the bus")
    return explain_abandoned(abandoned, inactive)


def _whole(records: list[Record], kind: type[R]) -> list[R]:
    """Return the events of the records, parts joined; one whose parts are not all there is left out."""
    parts: Parts[R] = Parts()
    events = ((read(record, kind), record.offset) for record in records)
    wholes = (parts.add(event, offset) for event, offset in events if event is not None)
    return [whole for whole in wholes if whole is not None]
