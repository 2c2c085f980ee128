"""Records that our own workers wrote, and the folds that take their records one by one.

Only workers may write to the topics between them. What stands there all the same and is none of their events
becomes a dead letter, like anything else that cannot be taken: it must not end the worker that reads it.
"""

from abc import abstractmethod
from collections.abc import Sequence
from typing import TypeVar

from pydantic import ValidationError

from schemas import cloudevents
from schemas.catalogue import EVENTS
from schemas.event import MAX_RECORD_BYTES, Event
from schemas.health import InstanceHealth
from schemas.reasons import Reason
from workers import dead_letters, inbound
from workers.fold import Outcome, Record, S, Step, Worker

E = TypeVar("E", bound=Event)


class Malformed(ValueError):  # noqa: N818  (what the record is)
    """Raised when a record of an internal topic is none of its events; nothing may have changed before."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason)
        self.reason = reason


class OneByOne(Worker[S]):
    """A fold that takes its records one by one, those of the topics ``first`` before the others."""

    def step(self, state: S, records: Sequence[Record]) -> Step:
        """Take every record; one that is malformed becomes a dead letter."""
        step = Step()
        for record in sorted(records, key=lambda each: each.topic not in self.first):
            try:
                outcome = self.take(state, record, step)
            except Malformed as malformed:
                step.emits.append(dead_letters.refuse(record, malformed.reason, self.name, self.context))
                outcome = Outcome.DEAD_LETTERED
            if outcome is not None:
                step.handled[record.topic, outcome] += 1
        return step

    @abstractmethod
    def take(self, state: S, record: Record, step: Step) -> Outcome | None:
        """Fold one record into the state; None: it is counted later, when it is settled.

        Raises Malformed.
        """


def read(record: Record, *types: type[E]) -> E | None:
    """Return the event of a record, or None if it is of a type that the worker does not look at.

    The type is in a header, so that what concerns other workers is not parsed. Raises Malformed.
    """
    if record.value is None:
        raise Malformed(Reason.CORRUPT_BATCH if record.undecodable else Reason.TOMBSTONE)
    if len(record.value) > MAX_RECORD_BYTES:
        raise Malformed(Reason.TOO_LARGE)
    try:
        envelope = cloudevents.read(record.headers, record.value)
    except ValueError:
        raise Malformed(Reason.BAD_HEADERS) from None
    model = EVENTS.get(envelope.type)
    if model is None or model.topic != record.topic:
        raise Malformed(Reason.UNKNOWN_TYPE)
    if model not in types:
        return None
    try:
        return model.model_validate_json(envelope.data)
    except ValidationError as error:
        details = error.errors(include_url=False, include_context=False, include_input=False)
        bad_json = any(detail["type"] == "json_invalid" for detail in details)
        raise Malformed(Reason.BAD_JSON if bad_json else Reason.INVALID_VALUE) from None


def read_health(record: Record) -> tuple[str, str, InstanceHealth | None]:
    """Return the federation, the instance and its health; None: it was deregistered. Raises Malformed."""
    if record.value is None and not record.undecodable:
        address = inbound.address_of(record.key)
        if address is None or not address.instance_id:
            raise Malformed(Reason.KEY_MISMATCH)
        return address.federation, address.instance_id, None
    health = read(record, InstanceHealth)
    if health is None or record.key != f"{health.federation}/{health.instance_id}".encode():
        raise Malformed(Reason.KEY_MISMATCH)
    return health.federation, health.instance_id, health
