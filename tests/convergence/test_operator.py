"""The operator's commands."""

from pathlib import Path

import pytest

from convergence import registrations
from convergence.errors import EnrolmentError, NotEnrolled, NotSynchronized
from convergence.events import read
from convergence.keys import Keys
from convergence.operator import Operator
from convergence.outbound import Sender
from schemas.commands import SynchronizationRequested
from schemas.instances import InstanceDeregistered, InstanceRegistered, PublicKey
from tests.convergence.federation import PARTITIONS, new_bus, new_settings, operated, records
from workers.runtime.memory import MemoryBus
from workers.settings import Settings

NEW_KEY = "ab" * 32


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return operated(new_settings(tmp_path), Keys(tmp_path))


def _document(settings: Settings) -> InstanceRegistered:
    return registrations.registration_document(settings, "berlin", "acme")


async def _enrolments(bus: MemoryBus) -> list[int]:
    events = [
        read(record, InstanceRegistered, InstanceDeregistered)
        for record in await records(bus, InstanceRegistered.topic)
    ]
    return [
        event.enrolment for event in events if isinstance(event, InstanceRegistered | InstanceDeregistered)
    ]


async def test_every_change_raises_the_enrolment(settings: Settings) -> None:
    bus = await new_bus()
    async with Operator(bus, settings) as operator:
        own = (await operator.enrol(_document(settings))).public_keys[0].key
        rotated = await operator.rotate("berlin", NEW_KEY, overlap_s=60)
        revoked = await operator.revoke("berlin", own)
        await operator.remove("berlin")
        again = await operator.enrol(_document(settings))
    assert await _enrolments(bus) == [1, 2, 3, 4, 5]
    assert [key.key for key in rotated.public_keys] == [own, NEW_KEY]
    assert [key.revoked for key in revoked.public_keys] == [True, False]
    assert again.enrolment == 5


async def test_in_a_rotation_both_keys_are_valid_for_a_while(settings: Settings) -> None:
    bus = await new_bus()
    async with Operator(bus, settings, clock=lambda: 1000) as operator:
        await operator.enrol(_document(settings))
        old, new = (await operator.rotate("berlin", NEW_KEY, overlap_s=60)).public_keys
    assert old.valid_at(61_000)
    assert not old.valid_at(61_001)
    assert new.valid_at(1000)
    assert new.not_after_ms is None


async def test_enrolling_the_same_again_sends_nothing(settings: Settings) -> None:
    bus = await new_bus()
    async with Operator(bus, settings) as operator:
        await operator.enrol(_document(settings))
        await operator.enrol(_document(settings))
    assert await _enrolments(bus) == [1]


async def test_enrolling_with_another_key_asks_for_a_rotation(settings: Settings) -> None:
    async with Operator(await new_bus(), settings) as operator:
        await operator.enrol(_document(settings))
        stranger = _document(settings).model_copy(update={"public_keys": (PublicKey(key=NEW_KEY),)})
        with pytest.raises(EnrolmentError, match="rotate"):
            await operator.enrol(stranger)


async def test_a_revoked_key_never_comes_back(settings: Settings) -> None:
    async with Operator(await new_bus(), settings) as operator:
        own = (await operator.enrol(_document(settings))).public_keys[0].key
        await operator.revoke("berlin", own)
        assert (await operator.enrol(_document(settings))).public_keys[0].revoked
        with pytest.raises(EnrolmentError, match="is or was its own"):
            await operator.rotate("berlin", own)


async def test_at_most_eight_keys_stay_and_the_newest_are_among_them(settings: Settings) -> None:
    async with Operator(await new_bus(), settings, clock=lambda: 1000) as operator:
        await operator.enrol(_document(settings))
        for number in range(10):
            rotated = await operator.rotate("berlin", f"{number:064x}")
    assert len(rotated.public_keys) == 8
    assert rotated.public_keys[-1].key == f"{9:064x}"


async def test_a_registration_that_the_operator_did_not_sign_does_not_count(settings: Settings) -> None:
    bus = await new_bus()
    forged = _document(settings).model_copy(update={"enrolment": 99})
    key = Keys(settings.keys_directory).ensure_instance("default", "berlin")
    sender = Sender("default", "berlin", key, {InstanceRegistered.topic: PARTITIONS})
    await (await bus.producer()).send([sender.message(forged, 99, 1)])
    async with Operator(bus, settings) as operator:
        assert (await operator.enrol(_document(settings))).enrolment == 1


@pytest.mark.parametrize("removed", [False, True])
async def test_what_is_not_enrolled_cannot_be_changed(settings: Settings, *, removed: bool) -> None:
    async with Operator(await new_bus(), settings) as operator:
        if removed:
            await operator.enrol(_document(settings))
            await operator.remove("berlin")
        with pytest.raises(NotEnrolled, match="default/berlin: is not enrolled"):
            await operator.rotate("berlin", NEW_KEY)


async def test_a_request_without_wait_returns_its_id(settings: Settings) -> None:
    bus = await new_bus()
    async with Operator(bus, settings) as operator:
        request_id = await operator.request_synchronization(wait=False)
    (record,) = await records(bus, SynchronizationRequested.topic)
    request = read(record, SynchronizationRequested)
    assert request is not None
    assert (request.request_id, request.requested_by) == (request_id, None)
    assert record.key == b"default"


async def test_a_request_without_answer_ends_with_what_to_look_at(settings: Settings) -> None:
    async with Operator(await new_bus(), settings) as operator:
        with pytest.raises(NotSynchronized, match="flc rounds list"):
            await operator.request_synchronization(timeout_s=0.01)
