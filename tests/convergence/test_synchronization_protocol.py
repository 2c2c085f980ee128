"""A synchronization in one process: six phases, and the instances' own functions."""

import asyncio
import threading
from datetime import UTC, timedelta
from typing import Any

from convergence import (
    AggregatedPattern,
    FederatedLearningConvergence,
    GlobalScoringAggregator,
    LearningSynchronizationProtocol,
)
from tests.convergence.test_federated_learning import federation, pattern


def protocol(learning: FederatedLearningConvergence, **options: Any) -> LearningSynchronizationProtocol:
    return LearningSynchronizationProtocol(learning, GlobalScoringAggregator(), **options)


async def learned(*names: str) -> FederatedLearningConvergence:
    learning = federation(*names)
    for name in names:
        await learning.aggregate_learning(name, [pattern(place) for place in range(5)])
    return learning


async def test_below_the_quorum_there_is_an_error_and_no_result() -> None:
    one = protocol(await learned("berlin"))
    result = await one.synchronize_learning()
    assert result.errors == ["below_quorum: 1 of 2 instances"]
    assert (result.convergence_score, result.instances_synced, result.convergence_achieved) == (0.0, 0, False)
    assert one.last_sync_time is None
    assert one.get_stats() == {
        "total_syncs": 1,
        "successful_syncs": 0,
        "failed_syncs": 1,
        "total_patterns_synced": 0,
    }


async def test_a_synchronization_scores_everybody() -> None:
    both = protocol(await learned("berlin", "paris"))
    result = await both.synchronize_learning(timedelta(minutes=1))
    assert (result.instances_synced, result.patterns_aggregated, result.errors) == (2, 5, [])
    assert result.convergence_achieved
    assert result.next_sync_window - result.timestamp == timedelta(minutes=1)
    assert result.next_sync_window.tzinfo is UTC
    assert both.last_sync_time == result.timestamp
    assert both.get_sync_history() == both.sync_history == [result]
    assert both.get_stats()["total_patterns_synced"] == 5


async def test_the_history_is_cut_to_the_limit() -> None:
    both = protocol(await learned("berlin", "paris"))
    results = [await both.synchronize_learning() for _ in range(3)]
    assert both.get_sync_history(2) == results[1:]
    assert both.get_sync_history(0) == []


async def test_callbacks_bring_what_is_held_and_take_the_library() -> None:
    both = protocol(federation("berlin", "paris"))
    taken: dict[str, list[AggregatedPattern]] = {}

    async def update(instance_id: str, window: timedelta) -> dict[str, Any]:
        assert window == timedelta(hours=1)
        return {"instance_id": instance_id, "patterns": [pattern(1)]}

    def distribute(instance_id: str, patterns: list[AggregatedPattern]) -> None:
        taken[instance_id] = patterns

    both.register_instance_callback("berlin", update, distribute)
    both.register_instance_callback("paris", lambda *_: [pattern(1), pattern(2)])
    result = await both.synchronize_learning()
    assert (result.instances_synced, result.patterns_aggregated, result.warnings) == (2, 1, [])
    assert [one.instance_count for one in taken["berlin"]] == [2]
    assert "berlin" in both.instance_update_callbacks
    assert "paris" not in both.instance_distribution_callbacks


async def test_an_update_callback_with_nothing_new_leaves_the_last_report() -> None:
    both = protocol(await learned("berlin", "paris"))
    both.register_instance_callback("berlin", lambda *_: None)
    result = await both.synchronize_learning()
    assert (result.patterns_aggregated, result.warnings) == (5, [])


async def test_raising_hanging_and_wrong_callbacks_are_warnings() -> None:
    learning = await learned("berlin", "oslo", "paris", "rome")
    all_of_them = protocol(learning, callback_timeout_s=0.5)
    released = threading.Event()

    def raises(*_: Any) -> None:
        raise RuntimeError("no database")

    async def hangs(*_: Any) -> None:
        await asyncio.Event().wait()

    all_of_them.register_instance_callback("berlin", raises, hangs)
    all_of_them.register_instance_callback("oslo", hangs, raises)
    all_of_them.register_instance_callback("paris", lambda *_: [{"pattern_id": "p"}])
    all_of_them.register_instance_callback("rome", lambda *_: released.wait())
    all_of_them.register_instance_callback("nobody", raises, raises)
    result = await all_of_them.synchronize_learning()
    released.set()
    assert result.instances_synced == 4
    assert result.warnings == [
        "the update of berlin failed: RuntimeError: no database",
        "the update of oslo failed: it took too long",
        "the update of paris failed: PatternError: pattern 0: pattern_type: missing",
        "the update of rome failed: it took too long",
        "the distribution to berlin failed: it took too long",
        "the distribution to oslo failed: RuntimeError: no database",
    ]
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_two_at_once_run_one_after_the_other() -> None:
    both = protocol(await learned("berlin", "paris"))
    first, second = await asyncio.gather(both.synchronize_learning(), both.synchronize_learning())
    assert first.timestamp <= second.timestamp
    assert both.get_stats()["total_syncs"] == 2


async def test_who_was_dropped_from_its_first_synchronization_has_missed_it() -> None:
    learning = await learned("berlin", "paris")
    all_of_them = protocol(learning)
    learning.register_instance("rome", "Rome", "eu")
    all_of_them.register_instance_callback("rome", lambda *_: [pattern(epistemic_certainty=0.1)])
    assert (await all_of_them.synchronize_learning()).instances_synced == 2
    result = await learning.aggregate_learning("rome", [pattern(place) for place in range(5)])
    assert result.convergence_score == 0.633333  # coverage 1, quality 0.9, participation 0 of 1
