"""Asking for a synchronization, and waiting for the round that answers."""

import asyncio
import uuid

from convergence.errors import NotSynchronized
from convergence.outbound import Sender
from convergence.outbox import Outbox
from convergence.subscription import Subscription, subscribe
from convergence.topics import POLL_S
from schemas.commands import SynchronizationRequested
from schemas.convergence import RoundAbandoned, SynchronizationCompleted
from workers.runtime.port import Bus
from workers.settings import Settings


def default_timeout_s(settings: Settings) -> float:
    """Return how long an answer may take: a request may come late for one round and get the next."""
    return settings.wait_timeout_s + 2e-3 * (
        settings.collection_deadline_ms + settings.acknowledgement_deadline_ms
    )


async def request_synchronization(
    bus: Bus, outbox: Outbox, sender: Sender, sequence: int, timeout_s: float, *, wait: bool
) -> SynchronizationCompleted | RoundAbandoned | str:
    """Ask for a synchronization; return the round that answers or, if it is not waited for, the request's id.

    Raises NotSynchronized.
    """
    request_id = uuid.uuid4().hex
    command = SynchronizationRequested(
        federation=sender.federation, request_id=request_id, requested_by=sender.name, sequence=sequence
    )
    message = sender.message(command, sequence, sequence)
    if not wait:
        await outbox.send(message)
        return request_id
    # The reader stands at the end before the request is sent, so that the answer cannot be missed.
    async with subscribe(bus, sender.federation) as events:
        await outbox.send(message)
        return await _answer(events, sender.federation, request_id, timeout_s)


async def _answer(
    events: Subscription, federation: str, request_id: str, timeout_s: float
) -> SynchronizationCompleted | RoundAbandoned:
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout_s
    while (remaining_s := deadline - loop.time()) > 0:
        event = await events.next(min(remaining_s, POLL_S))
        if isinstance(event, SynchronizationCompleted | RoundAbandoned) and request_id in event.commands:
            return event
    raise NotSynchronized(federation, request_id, timeout_s)
