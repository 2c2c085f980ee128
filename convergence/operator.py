"""The operator of a federation: who takes part, and when to synchronize."""

from types import TracebackType
from typing import Self

from convergence import registrations, synchronization
from convergence.errors import NotEnrolled
from convergence.keys import Keys
from convergence.outbound import Sender
from convergence.outbox import Outbox
from convergence.sequence import Clock, SequenceFile, now_ms
from convergence.topics import partition_counts
from schemas import signing
from schemas.commands import SynchronizationRequested
from schemas.convergence import RoundAbandoned, SynchronizationCompleted
from schemas.instances import InstanceDeregistered, InstanceRegistered
from workers.registry import Registration
from workers.runtime.port import Bus
from workers.settings import Settings

#: How long the old keys stay valid in a rotation unless it is said otherwise.
OVERLAP_S = 86_400.0


class Operator:
    """Signs registrations and commands with the federation's operator key, from its key file.

    Every change reads flc.instances.v1 back first and raises the enrolment above the one that stands there.
    """

    def __init__(
        self, bus: Bus, settings: Settings, federation: str | None = None, clock: Clock = now_ms
    ) -> None:
        self._bus = bus
        self._federation = federation or settings.federation
        self._key = Keys(settings.keys_directory).operator(self._federation)
        trusted = {**settings.operator_keys, self._federation: signing.public_key(self._key)}
        self._settings = settings.model_copy(update={"operator_keys": trusted})
        self._clock = clock
        self._commands = SequenceFile(
            settings.keys_directory, f"{self._federation}.operator", "commands", clock
        )
        self._outbox = Outbox(bus)
        self._sender: Sender | None = None

    @property
    def public_key(self) -> str:
        """The public half of the key, for the workers' setting operator_keys."""
        return signing.public_key(self._key)

    async def __aenter__(self) -> Self:
        counts = await partition_counts(self._bus, (InstanceRegistered.topic, SynchronizationRequested.topic))
        self._sender = Sender(self._federation, None, self._key, counts)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._outbox.close()

    async def enrol(self, document: InstanceRegistered) -> InstanceRegistered:
        """Enrol an instance by the document that it made, or update what it says of itself.

        Nothing is sent if nothing changes. Raises EnrolmentError if it takes part with another key already.
        """
        stands = await self._stands(document.instance_id)
        following = registrations.enrolled(
            stands, document.model_copy(update={"federation": self._federation})
        )
        if stands is None or following.enrolment > stands.enrolment:
            await self._send(following)
        return following

    async def rotate(
        self, instance_id: str, new_key: str, overlap_s: float = OVERLAP_S
    ) -> InstanceRegistered:
        """Bring in a new key (64 hex digits); the others end ``overlap_s`` from now.

        Raises NotEnrolled, and EnrolmentError for a key that was there before.
        """
        registered = await self._registered(instance_id)
        following = registrations.rotated(registered, new_key, self._clock(), int(overlap_s * 1000))
        await self._send(following)
        return following

    async def revoke(self, instance_id: str, key: str) -> InstanceRegistered:
        """Revoke a key for ever.

        Raises NotEnrolled, and EnrolmentError for a key that the instance does not hold.
        """
        following = registrations.revoked(await self._registered(instance_id), key)
        await self._send(following)
        return following

    async def remove(self, instance_id: str) -> InstanceDeregistered:
        """End the instance: its contributions leave with it. Raises NotEnrolled."""
        registered = await self._registered(instance_id)
        end = InstanceDeregistered(
            federation=self._federation, instance_id=instance_id, enrolment=registered.enrolment + 1
        )
        await self._send(end)
        return end

    async def request_synchronization(
        self, *, wait: bool = True, timeout_s: float | None = None
    ) -> SynchronizationCompleted | RoundAbandoned | str:
        """Ask for a synchronization; return the round that answers or, without ``wait``, the request's id.

        Raises NotSynchronized.
        """
        limit_s = synchronization.default_timeout_s(self._settings) if timeout_s is None else timeout_s
        return await synchronization.request_synchronization(
            self._bus, self._outbox, self._opened(), self._commands.take(), limit_s, wait=wait
        )

    async def _stands(self, instance_id: str) -> Registration | None:
        return await registrations.current(self._bus, self._settings, self._federation, instance_id)

    async def _registered(self, instance_id: str) -> InstanceRegistered:
        stands = await self._stands(instance_id)
        if stands is None or stands.deregistered:
            raise NotEnrolled(self._federation, instance_id, "is not enrolled")
        return stands.registered

    async def _send(self, event: InstanceRegistered | InstanceDeregistered) -> None:
        await self._outbox.send(self._opened().message(event, event.enrolment, self._clock()))

    def _opened(self) -> Sender:
        if self._sender is None:
            raise RuntimeError("use it as `async with Operator(…) as operator`")
        return self._sender
