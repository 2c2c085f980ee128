"""Orchestrators are told what the federation has come to, and can harm nobody."""

import asyncio
import logging
import threading
from collections import UserDict
from importlib.metadata import EntryPoint
from typing import Any

import pytest

from convergence import orchestrators
from convergence.orchestrators import Orchestrators
from schemas.convergence import ConvergenceUpdated, RoundEvent, SynchronizationCompleted
from schemas.rounds import RoundKind
from tests.convergence.federation import result

UPDATE = result(1)
CONVERGED = result(1, kind=RoundKind.SYNCHRONIZATION, convergence_achieved=True)
NOT_CONVERGED = result(2, kind=RoundKind.SYNCHRONIZATION)


class CompleteConvergenceOrchestrator:
    """Has a state."""

    def __init__(self) -> None:
        self.convergence_state: Any = {"other": 1}


class Listening:
    """Takes events."""

    def __init__(self) -> None:
        self.heard: list[RoundEvent] = []

    def on_convergence(self, event: RoundEvent) -> None:
        self.heard.append(event)


class ListeningAsync(Listening):
    """Takes events in a coroutine."""

    async def on_convergence(self, event: RoundEvent) -> None:  # type: ignore[override]
        await asyncio.sleep(0)
        self.heard.append(event)


class Hanging:
    """Does not come back until it is let go."""

    def __init__(self) -> None:
        self.released = threading.Event()
        self.calls = 0

    def on_convergence(self, _event: RoundEvent) -> None:
        self.calls += 1
        self.released.wait()


class Raising:
    """Is broken."""

    async def on_convergence(self, _event: RoundEvent) -> None:
        raise RuntimeError("broken")

    @property
    def convergence_state(self) -> dict[str, Any]:
        return {}


class BrokenAltogether:
    """Cannot even be looked at."""

    @property
    def convergence_state(self) -> dict[str, Any]:
        raise RuntimeError("broken")


async def fed(*events: RoundEvent, to: list[Any], limit_s: float = 5.0) -> dict[str, int]:
    """Feed events; return the statistics once everybody is through."""
    feeding = Orchestrators.found(to, limit_s=limit_s)
    for event in events:
        feeding.feed(event)
    await feeding.drain()
    await feeding.close()
    return feeding.stats()


async def test_a_state_gets_the_scores_after_an_update_and_after_a_converged_synchronization() -> None:
    one = CompleteConvergenceOrchestrator()
    stats = await fed(UPDATE, NOT_CONVERGED, to=[one])
    assert one.convergence_state == {
        "other": 1,
        "federated_convergence": 0.5,
        "federated_emergence": 0.5,
        "last_federated_update": "1970-01-01T00:00:00.001000+00:00",
    }
    assert stats == {"connected": 1, "absent": 2, "fed": 1, "slow": 0, "failed": 0}
    await fed(CONVERGED, to=[one])
    assert one.convergence_state.keys() >= {
        "global_convergence",
        "global_pattern_alignment",
        "global_emergence",
    }


async def test_a_state_that_is_a_dict_is_written_at_once() -> None:
    one = CompleteConvergenceOrchestrator()
    feeding = Orchestrators([one])
    feeding.feed(UPDATE)
    assert one.convergence_state["federated_convergence"] == 0.5
    await feeding.close()


async def test_a_state_may_be_any_mapping() -> None:
    one = CompleteConvergenceOrchestrator()
    one.convergence_state = UserDict()
    await fed(UPDATE, to=[one])
    assert one.convergence_state["federated_convergence"] == 0.5


@pytest.mark.parametrize("kind", [Listening, ListeningAsync])
async def test_a_function_gets_the_event_sync_or_async(kind: type[Listening]) -> None:
    one = kind()
    await fed(UPDATE, NOT_CONVERGED, CONVERGED, to=[one])
    assert [type(event) for event in one.heard] == [ConvergenceUpdated, SynchronizationCompleted]


async def test_slow_and_broken_ones_are_counted_logged_once_and_hold_up_nobody(
    caplog: pytest.LogCaptureFixture,
) -> None:
    hanging, listening = Hanging(), Listening()
    with caplog.at_level(logging.WARNING):
        stats = await fed(
            UPDATE,
            CONVERGED,
            to=[hanging, Raising(), BrokenAltogether(), object(), listening],
            limit_s=0.5,
        )
    hanging.released.set()
    assert len(listening.heard) == 2
    assert hanging.calls == 1  # not called again while its last call hangs
    assert stats == {"connected": 5, "absent": 3, "fed": 4, "slow": 2, "failed": 4}
    assert sorted(record.getMessage() for record in caplog.records) == [
        "orchestrator.failed BrokenAltogether",
        "orchestrator.failed Raising",
        "orchestrator.slow Hanging",
    ]


async def test_what_waits_is_told_before_it_is_closed() -> None:
    one = ListeningAsync()
    async with Orchestrators([one]) as feeding:
        feeding.feed(UPDATE)
    assert one.heard == [UPDATE]


async def test_closing_waits_for_nobody_who_hangs() -> None:
    hanging = Hanging()
    async with Orchestrators([hanging], limit_s=0.01) as feeding:
        for _ in range(50):
            feeding.feed(UPDATE)
    hanging.released.set()
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_what_one_has_no_time_for_passes_it_by(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(orchestrators, "MAX_WAITING", 1)
    one = Listening()
    stats = await fed(UPDATE, UPDATE, UPDATE, to=[one])
    assert (stats["fed"], stats["slow"]) == (1, 2)


async def test_those_of_the_entry_points_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    here = __name__

    def points(*, group: str) -> list[EntryPoint]:
        assert group == "convergence.orchestrators"
        return [
            EntryPoint("UnifiedOrchestrator", f"{here}:Listening", group),
            EntryPoint("CompleteConvergenceOrchestrator", f"{here}:Missing", group),
        ]

    monkeypatch.setattr(orchestrators, "entry_points", points)
    stats = await fed(UPDATE, to=[])
    assert stats == {"connected": 1, "absent": 2, "fed": 1, "slow": 0, "failed": 1}
