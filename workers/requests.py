"""Requests for a synchronization: who may ask, how often, and who is not known yet.

An instance may ask right behind its registration, which reaches the collection by way of the health worker
only. So a request whose key is not known yet waits until that instance's health says it, or until time has
shown that it will not. A record that waits is counted when it is settled.
"""

from schemas.commands import SynchronizationRequested
from schemas.reasons import Reason
from workers import dead_letters, inbound
from workers.collection_state import CollectionState
from workers.fold import Context, Outcome, Record, Step
from workers.inbound import Opened, Refusal

#: How old the sending time of a request may be.
MAX_REQUEST_AGE_MS = 5 * 60_000

#: For so long a request is remembered; far longer than its sending time allows it to be sent again.
REQUEST_MEMORY_MS = 60 * 60_000

#: So many requests of a federation are taken in a minute.
REQUESTS_PER_MINUTE = 60

#: So many requests wait for one synchronization. Every part of its hand-overs and its result lists them all,
#: and one that does not come to an end must not make these larger than a record may be.
MAX_ASKED = 1_000

#: No request needs more bytes, with all its names at their longest and its envelope around it.
MAX_REQUEST_BYTES = 2048

#: How long a request waits for its key to become known: many times what a registration takes to get here.
WAIT_MS = 5_000

#: So many requests of a federation wait; strangers can take these places, and nothing else.
MAX_WAITING = 32

_MINUTE_MS = 60_000


class Requests:
    """Settles the requests of a partition's federations; what it knows of them is the collection's state."""

    def __init__(self, context: Context, stage: str) -> None:
        self._context = context
        self._settings = context.settings
        self._stage = stage

    def take(self, state: CollectionState, record: Record, step: Step) -> Outcome | None:
        """Settle a request, or let it wait (None)."""
        opened = self._open(record)
        if isinstance(opened, Refusal):
            return self._refuse(record, opened.reason, opened.federation, step)
        if not self._may_become_known(state, opened, record):
            return self._settle(state, record, opened, record.append_ms, step)
        request = opened.event
        state.waiting.put(request.federation, f"{request.requested_by}/{record.offset:020d}", record)
        return None

    def look_again(
        self, state: CollectionState, federation: str, instance_id: str, now_ms: int, step: Step
    ) -> None:
        """Settle the requests that waited for what is known of an instance now."""
        for key, record in sorted(state.waiting.of(federation).items()):
            if key.startswith(f"{instance_id}/"):
                self._settle_waiting(state, key, record, now_ms, step)

    def expire(self, state: CollectionState, now_ms: int, step: Step) -> None:
        """Settle the requests that have waited long enough."""
        for federation in state.waiting.federations():
            for key, record in sorted(state.waiting.of(federation).items()):
                if record.append_ms + WAIT_MS <= now_ms:
                    self._settle_waiting(state, key, record, now_ms, step)

    def deadline(self, state: CollectionState) -> int | None:
        """Return when the first waiting request has waited long enough (Unix ms), or None."""
        of_federations = map(state.waiting.of, state.waiting.federations())
        return min(
            (record.append_ms + WAIT_MS for of in of_federations for record in of.values()), default=None
        )

    def _settle_waiting(
        self, state: CollectionState, key: str, record: Record, now_ms: int, step: Step
    ) -> None:
        opened = self._open(record)
        if isinstance(opened, Refusal):
            raise TypeError(f"a refused request waits: {opened.reason}")
        known = self._authority(state, opened, record.append_ms) is not Reason.UNKNOWN_KEY
        if known or record.append_ms + WAIT_MS <= now_ms:
            state.waiting.delete(opened.event.federation, key)
            step.handled[record.topic, self._settle(state, record, opened, now_ms, step)] += 1

    def _open(self, record: Record) -> Opened[SynchronizationRequested] | Refusal:
        if len(record.value or b"") > MAX_REQUEST_BYTES:
            said = inbound.address_of(record.key)
            return Refusal(Reason.TOO_LARGE, federation=None if said is None else said.federation)
        # Whose key it is shows once the request is parsed: it says who asks.
        return inbound.open_record(
            record,
            (SynchronizationRequested,),
            lambda *_: None,
            self._context,
            behind_ms=MAX_REQUEST_AGE_MS,
        )

    def _may_become_known(
        self, state: CollectionState, opened: Opened[SynchronizationRequested], record: Record
    ) -> bool:
        request = opened.event
        enrols = self._settings.enrolment == "open" or request.federation in self._settings.operator_keys
        return (
            enrols
            and request.requested_by is not None
            and self._authority(state, opened, record.append_ms) is Reason.UNKNOWN_KEY
            and len(state.waiting.of(request.federation)) < MAX_WAITING
        )

    def _authority(
        self, state: CollectionState, opened: Opened[SynchronizationRequested], now_ms: int
    ) -> Reason | None:
        """Return why the key may not speak for who asks: nobody asks in the name of another."""
        request = opened.event
        if self._settings.operator_keys.get(request.federation) == opened.key_id:
            return None
        if request.requested_by is None:
            return None if self._settings.enrolment == "open" else Reason.UNKNOWN_KEY
        health = state.health.get(request.federation, request.requested_by)
        return inbound.registered_key(() if health is None else health.public_keys, opened.key_id, now_ms)

    def _settle(
        self,
        state: CollectionState,
        record: Record,
        opened: Opened[SynchronizationRequested],
        now_ms: int,
        step: Step,
    ) -> Outcome:
        request = opened.event
        federation = request.federation
        if state.requests.get(federation, request.request_id) is not None:
            return Outcome.DUPLICATE
        reason = self._authority(state, opened, record.append_ms)
        if reason is None and self._too_many(state, federation, now_ms):
            reason = Reason.RATE_LIMITED
        if reason is not None:
            return self._refuse(record, reason, federation, step)
        state.ask(federation, request.request_id, now_ms, forget_before_ms=now_ms - REQUEST_MEMORY_MS)
        return Outcome.ACCEPTED

    def _too_many(self, state: CollectionState, federation: str, now_ms: int) -> bool:
        lately = sum(at > now_ms - _MINUTE_MS for at in state.requests.of(federation).values())
        rounds = state.rounds.get(federation)
        asked = () if rounds is None else rounds.asked(now_ms)
        return lately >= REQUESTS_PER_MINUTE or len(asked) >= MAX_ASKED

    def _refuse(self, record: Record, reason: Reason, federation: str | None, step: Step) -> Outcome:
        step.emits.append(dead_letters.refuse(record, reason, self._stage, self._context, federation))
        return Outcome.DEAD_LETTERED
