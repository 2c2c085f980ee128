"""Rounds and instances as the operator reads them."""

from typing import TypeVar

import pytest

from convergence.errors import UnknownInstance, UnknownRound
from convergence.instances import list_instances, show_instance
from convergence.rounds import list_rounds, show_round
from schemas.event import Columns
from schemas.health import InstanceHealth, Status
from schemas.partitioning import key_partition
from schemas.rounds import (
    CollectionCompleted,
    Configuration,
    DetectionCompleted,
    GlobalScores,
    HandOver,
    MemberScores,
    RoundInstances,
    RoundKind,
)
from tests.convergence.federation import PARTITIONS, new_bus, result, write
from workers.runtime.memory import MemoryBus
from workers.runtime.port import Message

C = TypeVar("C", bound=Columns)
H = TypeVar("H", bound=HandOver)

GLOBAL = GlobalScores(
    global_convergence=1,
    pattern_alignment=2,
    global_emergence=3,
    convergence_variance=4,
    mean_convergence=5,
    weighted_mean_convergence=6,
)


def _columns(kind: type[C], **columns: tuple[object, ...]) -> C:
    """Return columns of which those not given are zeros."""
    length = len(next(iter(columns.values())))
    return kind.model_validate({name: columns.get(name, (0,) * length) for name in kind.model_fields})


def _instances(*ids: str) -> RoundInstances:
    length = len(ids)
    return _columns(
        RoundInstances,
        instance_id=ids,
        organisation=ids,
        status=(Status.ACTIVE,) * length,
        straggler=(False,) * length,
        drop_reason=(None,) * length,
    )


def _hand_over(kind: type[H], number: int, *ids: str, part: int = 0, parts: int = 1, **more: object) -> H:
    return kind.model_validate(
        {
            "federation": "default",
            "round_id": f"default/update/{number}",
            "kind": RoundKind.UPDATE,
            "number": number,
            "part": part,
            "parts": parts,
            "commands": (),
            "opened_at_ms": 1,
            "next_window_ms": None,
            "phase_started_ms": {},
            "configuration": Configuration(),
            "instances": _instances(*ids),
            "covers": (),
            **more,
        }
    )


def _detected(number: int, *ids: str, part: int = 0, parts: int = 1) -> DetectionCompleted:
    last = part == parts - 1
    return _hand_over(
        DetectionCompleted,
        number,
        *ids,
        part=part,
        parts=parts,
        scores=_columns(MemberScores, unified=tuple(range(len(ids)))),
        global_scores=GLOBAL if last else None,
        criteria=(),
        converged=False if last else None,
        library=7 if last else None,
        releases=None,
    )


async def _write_round(bus: MemoryBus, *events: HandOver) -> None:
    for event in events:
        await write(bus, event, key=event.round_id)


async def test_rounds_are_listed_with_their_parts_joined() -> None:
    bus = await new_bus()
    await _write_round(bus, _detected(1, "a", "b", part=0, parts=2), _detected(1, "c", part=1, parts=2))
    (found,) = await list_rounds(bus, "default")
    assert found.instances.instance_id == ("a", "b", "c")
    assert found.scores.unified == (0, 1, 0)
    assert (found.global_scores, found.library, found.converged) == (GLOBAL, 7, False)


async def test_only_the_last_rounds_are_listed_the_oldest_first() -> None:
    bus = await new_bus()
    await _write_round(bus, *(_detected(number, "a") for number in range(1, 6)))
    assert [found.number for found in await list_rounds(bus, "default", limit=2)] == [4, 5]


async def test_a_round_is_shown_with_everything_that_is_known_of_it() -> None:
    bus = await new_bus()
    await _write_round(bus, _hand_over(CollectionCompleted, 1, "a"), _detected(1, "a"), _detected(11, "a"))
    await write(bus, result(1), result(11))
    found = await show_round(bus, "default/update/1")
    assert set(found.hand_overs) == {"CollectionCompleted", "DetectionCompleted"}
    assert [event.number for event in found.published] == [1]


async def test_an_unknown_round_is_an_error() -> None:
    with pytest.raises(UnknownRound, match="default/update/1"):
        await show_round(await new_bus(), "default/update/1")


def _health(instance_id: str, status: Status = Status.ACTIVE, federation: str = "default") -> InstanceHealth:
    return InstanceHealth(
        federation=federation,
        instance_id=instance_id,
        organisation="acme",
        status=status,
        reliability=1,
        data_quality=1,
        pattern_count=1,
        weight=1,
        last_seen_ms=None,
        admitted=None,
        judged=None,
        public_keys=(),
    )


async def _write_health(bus: MemoryBus, *events: InstanceHealth) -> None:
    for event in events:
        at = key_partition("default", PARTITIONS)
        await write(bus, event, key=f"{event.federation}/{event.instance_id}", partition=at)


async def test_instances_are_listed_as_they_are_now() -> None:
    bus = await new_bus()
    await _write_health(bus, _health("paris"), _health("berlin"), _health("paris", Status.DEGRADED))
    await _write_health(bus, _health("rome", federation="other"), _health("gone"))
    tombstone = Message(InstanceHealth.topic, key_partition("default", PARTITIONS), b"default/gone", None)
    await (await bus.producer()).send([tombstone])
    found = await list_instances(bus, "default")
    assert [(health.instance_id, health.status) for health in found] == [
        ("berlin", Status.ACTIVE),
        ("paris", Status.DEGRADED),
    ]
    assert (await show_instance(bus, "default", "paris")).status is Status.DEGRADED
    with pytest.raises(UnknownInstance, match="default/gone"):
        await show_instance(bus, "default", "gone")
