"""One instance on the bus: it registers, lives, reports what it holds, and takes part in synchronizations."""

import asyncio
import dataclasses
import logging
from collections.abc import Callable, Coroutine, Iterable, Mapping
from contextlib import aclosing
from types import TracebackType
from typing import Any, Self

from convergence import registrations, synchronization
from convergence.covers import Covers, Update
from convergence.errors import KnowledgeIncomplete, NotCovered, NotEnrolled
from convergence.keys import Keys
from convergence.knowledge import Knowledge
from convergence.outbound import Sender, report
from convergence.outbox import Outbox
from convergence.patterns import Pattern
from convergence.sequence import Clock, SequenceFile, now_ms
from convergence.subscription import Subscription, follow, subscribe
from convergence.topics import partition_counts
from schemas import signing
from schemas.commands import SynchronizationRequested
from schemas.convergence import (
    KnowledgeAnnounced,
    RoundAbandoned,
    RoundEvent,
    SynchronizationAnnounced,
    SynchronizationCompleted,
)
from schemas.instances import Heartbeat, InstanceRegistered
from schemas.knowledge import AggregatedPattern, KnowledgeAcknowledged
from schemas.reports import PatternReport
from workers.registry import Registration
from workers.runtime.port import Bus, Unavailable
from workers.settings import Settings

_log = logging.getLogger(__name__)

#: What an instance writes to.
TOPICS = (
    InstanceRegistered.topic,
    Heartbeat.topic,
    PatternReport.topic,
    KnowledgeAcknowledged.topic,
    SynchronizationRequested.topic,
)

Wait = Callable[[float], Coroutine[Any, Any, None]]


class Deployment:
    """An instance of a federation, alive while the context is entered.

    Opened, it registers itself if enrolment is open; else the operator must have enrolled it, or NotEnrolled
    is raised (if the settings name the operator's key to check it by). Then it sends heartbeats and, with
    ``answers``, takes part in synchronizations: when one is announced, it reports once more what it published
    last; when one ends, it reads the knowledge and acknowledges it. While the bus is away it tries again.
    """

    def __init__(
        self,
        bus: Bus,
        settings: Settings,
        instance_id: str,
        organisation: str,
        *,
        instance_name: str | None = None,
        deployment_region: str = "",
        heartbeat_period_s: int = 30,
        metadata: Mapping[str, str] | None = None,
        answers: bool = True,
        clock: Clock = now_ms,
        wait: Wait = asyncio.sleep,
    ) -> None:
        #: What it says of itself; the operator enrols it by this.
        self.document = registrations.registration_document(
            settings,
            instance_id,
            organisation,
            instance_name=instance_name,
            deployment_region=deployment_region,
            heartbeat_period_s=heartbeat_period_s,
            metadata=metadata,
        )
        self._bus = bus
        self._settings = settings
        self._clock = clock
        self._wait = wait
        self._answers = answers
        self._keys = Keys(settings.keys_directory)
        # Missing, it is better missed now than at the first report.
        self._keys.federation(settings.federation)
        self._sequences = {
            stream: SequenceFile(
                settings.keys_directory, f"{settings.federation}@{instance_id}", stream, clock
            )
            for stream in ("heartbeats", "reports", "acknowledgements", "commands")
        }
        self._outbox = Outbox(bus)
        self._covers = Covers(instance_id)
        self._held: tuple[Pattern, ...] | None = None
        self._announced: asyncio.Queue[KnowledgeAnnounced] = asyncio.Queue()
        self._tasks: list[asyncio.Task[None]] = []
        #: Requests that the instance has served since it started; the heartbeat carries it.
        self.total_requests = 0
        self._knowledge = Knowledge(bus, settings.federation, clock=clock)

    @property
    def federation(self) -> str:
        """The federation that it takes part in."""
        return self.document.federation

    @property
    def instance_id(self) -> str:
        """The instance."""
        return self.document.instance_id

    @property
    def knowledge(self) -> Mapping[str, AggregatedPattern]:
        """The shared knowledge by pattern id, as of the last synchronization that it answered."""
        return self._knowledge.patterns

    async def __aenter__(self) -> Self:
        counts = await partition_counts(self._bus, TOPICS)
        key = self._keys.instance(self.federation, self.instance_id)
        self._sender = Sender(self.federation, self.instance_id, key, counts)
        events = subscribe(self._bus, self.federation)
        try:
            await self._register()
            # Reading starts before anything can be published, so no answer is missed.
            await events.open()
        except BaseException:
            await self._release(events)
            raise
        duties = [self._live(), self._listen(events)]
        if self._answers:
            duties.append(self._acknowledge())
        for duty in duties:
            task = asyncio.create_task(duty)
            task.add_done_callback(self._ended)
            self._tasks.append(task)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for task in self._tasks:
            task.cancel()
        ends = await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()
        await self._release()
        for end in ends:
            if isinstance(end, Exception) and error is None:
                raise end

    async def _release(self, *events: Subscription) -> None:
        for subscription in events:
            await subscription.close()
        await self._knowledge.close()
        await self._outbox.close()

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self._covers.fail(error)

    async def publish(self, patterns: Iterable[Pattern], timeout_s: float | None = None) -> Update:
        """Report everything that the instance holds now and wait for the result that answers it.

        Whether the report counted stands in the answer's cover. Raises NotCovered if none comes within
        ``timeout_s`` (default: the setting wait_timeout_s), and TooManyPatterns.
        """
        limit_s = self._settings.wait_timeout_s if timeout_s is None else timeout_s
        self._raise_failure()
        self._held = tuple(patterns)
        sequence = self._sequences["reports"].take()
        with self._covers.expect(sequence) as answer:
            try:
                async with asyncio.timeout(limit_s):
                    await self._report(sequence, self._held)
                    return await answer
            except TimeoutError:
                raise NotCovered(self.federation, self.instance_id, sequence, limit_s) from None

    async def request_synchronization(
        self, *, wait: bool = True, timeout_s: float | None = None
    ) -> SynchronizationCompleted | RoundAbandoned | str:
        """Ask for a synchronization; return the round that answers or, without ``wait``, the request's id.

        Raises NotSynchronized.
        """
        limit_s = synchronization.default_timeout_s(self._settings) if timeout_s is None else timeout_s
        sequence = self._sequences["commands"].take()
        return await synchronization.request_synchronization(
            self._bus, self._outbox, self._sender, sequence, limit_s, wait=wait
        )

    def _raise_failure(self) -> None:
        for task in self._tasks:
            if task.done() and (error := task.exception()) is not None:
                raise error

    async def adopt_next_key(self) -> None:
        """Sign with the next key from now on, if there is one (``Keys.ensure_next_instance``).

        Raises NotEnrolled if the operator has not brought it in: the present key stays.
        """
        if not self._keys.has_next_instance(self.federation, self.instance_id):
            return
        following = signing.public_key(self._keys.ensure_next_instance(self.federation, self.instance_id))
        if not registrations.holds(await self._stands(), following, self._clock()):
            raise NotEnrolled(self.federation, self.instance_id, f"the next key {following} is not enrolled")
        key = self._keys.adopt_next_instance(self.federation, self.instance_id)
        self._sender = dataclasses.replace(self._sender, key=key)

    async def _stands(self) -> Registration | None:
        return await registrations.current(self._bus, self._settings, self.federation, self.instance_id)

    async def _register(self) -> None:
        operated = self._settings.enrolment == "operator"
        if operated and self.federation not in self._settings.operator_keys:
            return  # it cannot be checked here; the workers know the operator's key
        own = signing.public_key(self._sender.key)
        registered = registrations.due(
            await self._stands(), self.document, own, self._clock(), operated=operated
        )
        if registered is not None:
            message = self._sender.message(registered, registered.enrolment, self._clock())
            await self._outbox.send(message)

    async def _report(self, sequence: int, patterns: tuple[Pattern, ...]) -> None:
        # Read each time: a new key epoch counts without a restart.
        key = self._keys.federation(self.federation)
        event = report(self.federation, self.instance_id, sequence, key, patterns)
        await self._outbox.send(self._sender.message(event, sequence, sequence))

    async def _live(self) -> None:
        while True:
            sequence = self._sequences["heartbeats"].take()
            beat = Heartbeat(
                federation=self.federation,
                instance_id=self.instance_id,
                sequence=sequence,
                total_requests=self.total_requests,
                pattern_count=len(self._held or ()),
            )
            try:
                await self._outbox.send(self._sender.message(beat, sequence, sequence))
            except Unavailable as error:
                # The next beat says the same, and what is missed shows in the instance's reliability.
                _log.warning("heartbeat.missed %s/%s: %s", self.federation, self.instance_id, error)
            await self._wait(self.document.heartbeat_period_s)

    async def _listen(self, events: Subscription) -> None:
        async with aclosing(follow(events, self._wait)) as heard:
            async for event in heard:
                self._covers.take(event)
                try:
                    await self._answer(event)
                except Unavailable as error:
                    # The round takes what was reported before; the next one is announced again.
                    _log.warning(
                        "announcement.unanswered %s/%s: %s", self.federation, self.instance_id, error
                    )

    async def _answer(self, event: RoundEvent) -> None:
        if not self._answers:
            return
        if isinstance(event, SynchronizationAnnounced) and self._held is not None:
            await self._report(self._sequences["reports"].take(), self._held)
        elif isinstance(event, KnowledgeAnnounced):
            self._announced.put_nowait(event)

    async def _acknowledge(self) -> None:
        while True:
            event = await self._announced.get()
            try:
                await self._knowledge.until(event.number, self._settings.wait_timeout_s)
                sequence = self._sequences["acknowledgements"].take()
                acknowledged = KnowledgeAcknowledged(
                    federation=self.federation,
                    instance_id=self.instance_id,
                    round_id=event.round_id,
                    sequence=sequence,
                )
                await self._outbox.send(self._sender.message(acknowledged, sequence, sequence))
            except (KnowledgeIncomplete, Unavailable) as error:
                # Late, an acknowledgement is worth nothing; the next round reads on from here.
                _log.warning("knowledge.unread %s/%s: %s", self.federation, self.instance_id, error)
                await self._knowledge.close()
