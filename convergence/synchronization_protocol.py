"""A synchronization in this process: the six phases, with the instances' own functions at both ends."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime, timedelta
from typing import Any, TypeVar

from convergence import callbacks
from convergence.errors import ConvergenceError
from convergence.federated_learning import FederatedLearningConvergence
from convergence.global_scoring import GlobalScoringAggregator
from convergence.results import below_quorum, global_score, without_result
from convergence.types import SynchronizationResult, now

#: So many results are kept; older ones are forgotten.
MAX_HISTORY = 1_000

#: How long a callback may take, in seconds, as long as an instance has on the bus to answer an announcement.
CALLBACK_S = 10.0

#: ``await update_callback(instance_id, sync_window)`` gives what the instance holds now: the patterns, or a
#: mapping with ``"patterns"``; None: still the same. It may be sync, too.
UpdateCallback = Callable[[str, timedelta], Any]

#: ``await distribution_callback(instance_id, global_patterns)`` takes the library. It may be sync, too.
DistributionCallback = Callable[[str, list[Any]], Any]

C = TypeVar("C", UpdateCallback, DistributionCallback)


class LearningSynchronizationProtocol:
    """Synchronizes the instances of a federation in this process.

    Collection asks every instance for what it holds, validation drops what cannot count, aggregation and
    detection compute the round, distribution hands the library out, verification judges it. A callback that
    raises or takes longer than ``callback_timeout_s`` becomes a warning in the result, which then counts the
    instance with what it last reported. With less than ``min_instances_for_sync`` in the cohort there is no
    result but an error.
    """

    def __init__(
        self,
        federated_learning: FederatedLearningConvergence,
        global_scoring: GlobalScoringAggregator,
        sync_window: timedelta = timedelta(hours=1),
        min_instances_for_sync: int = 2,
        *,
        callback_timeout_s: float = CALLBACK_S,
    ) -> None:
        if sync_window <= timedelta(0):
            raise ValueError("sync_window must be positive")
        if min_instances_for_sync < 1:
            raise ValueError("min_instances_for_sync must be at least 1")
        self.federated_learning = federated_learning
        self.global_scoring = global_scoring
        self.sync_window = sync_window
        self.min_instances_for_sync = min_instances_for_sync
        self.callback_timeout_s = callback_timeout_s
        self.instance_update_callbacks: dict[str, UpdateCallback] = {}
        self.instance_distribution_callbacks: dict[str, DistributionCallback] = {}
        #: The results so far, the oldest first, abandoned ones too.
        self.sync_history: list[SynchronizationResult] = []
        #: When the last synchronization was completed.
        self.last_sync_time: datetime | None = None
        self._stats = {"total_syncs": 0, "successful_syncs": 0, "failed_syncs": 0, "total_patterns_synced": 0}
        self._one_at_a_time = asyncio.Lock()

    def register_instance_callback(
        self,
        instance_id: str,
        update_callback: UpdateCallback | None = None,
        distribution_callback: DistributionCallback | None = None,
    ) -> None:
        """Set an instance's callbacks; one that is None stays as it was."""
        if update_callback is not None:
            self.instance_update_callbacks[instance_id] = update_callback
        if distribution_callback is not None:
            self.instance_distribution_callbacks[instance_id] = distribution_callback

    async def synchronize_learning(self, sync_window: timedelta | None = None) -> SynchronizationResult:
        """Run one synchronization; a second call waits for the first. The next one is due a window later."""
        window = self.sync_window if sync_window is None else sync_window
        async with self._one_at_a_time:
            started = time.monotonic()
            result = await self._synchronize(window)
            result.sync_duration_ms = (time.monotonic() - started) * 1000
        self.sync_history.append(result)
        del self.sync_history[:-MAX_HISTORY]
        self._stats["total_syncs"] += 1
        self._stats["failed_syncs" if result.errors else "successful_syncs"] += 1
        self._stats["total_patterns_synced"] += result.patterns_aggregated
        return result

    async def _synchronize(self, window: timedelta) -> SynchronizationResult:
        learning, scoring = self.federated_learning, self.global_scoring
        warnings = await self._collect(window)
        instances = learning.collect(scoring.min_instance_weight)
        members = instances.drop_reason.count(None)
        if members < self.min_instances_for_sync:
            error = below_quorum(members, self.min_instances_for_sync)
            result = without_result(error, now(), now() + window)
            result.warnings = warnings
            return result
        done = learning.compute(instances, synchronization=True)
        warnings += await self._distribute()
        self.last_sync_time = now()
        score = global_score(done, self.last_sync_time)
        scoring.count(members, done.library)
        return SynchronizationResult(
            convergence_score=score.global_convergence,
            instances_synced=members,
            patterns_aggregated=done.library,
            convergence_achieved=scoring.validate_convergence(score),
            next_sync_window=self.last_sync_time + window,
            sync_duration_ms=0.0,
            warnings=warnings,
            timestamp=self.last_sync_time,
        )

    async def _collect(self, window: timedelta) -> list[str]:
        """Ask every instance for what it holds; return what did not work."""

        async def ask(name: str, callback: UpdateCallback) -> None:
            answer = await callbacks.call(callback, name, window, limit_s=self.callback_timeout_s)
            if answer is not None:
                self.federated_learning.take(name, _patterns(answer))

        return await self._attempt("the update of", ask, self.instance_update_callbacks)

    async def _distribute(self) -> list[str]:
        """Hand the library to every instance that takes it; return what did not work."""
        library = list(self.federated_learning.get_global_pattern_library().values())

        async def tell(name: str, callback: DistributionCallback) -> None:
            await callbacks.call(callback, name, library, limit_s=self.callback_timeout_s)

        return await self._attempt("the distribution to", tell, self.instance_distribution_callbacks)

    async def _attempt(
        self, what: str, work: Callable[[str, C], Awaitable[None]], functions: Mapping[str, C]
    ) -> list[str]:
        """Do the work for all registered instances at once; return a sentence for each failure."""
        names = sorted(functions.keys() & self.federated_learning.instance_registry.keys())
        ends = await asyncio.gather(*(work(name, functions[name]) for name in names), return_exceptions=True)
        return [
            f"{what} {name} failed: {_reason(end)}"
            for name, end in zip(names, ends, strict=True)
            if end is not None
        ]

    def get_sync_history(self, limit: int = 10) -> list[SynchronizationResult]:
        """Return the last ``limit`` results, the oldest first."""
        return self.sync_history[-limit:] if limit > 0 else []

    def get_stats(self) -> dict[str, int]:
        """Return total_syncs, successful_syncs (with a result), failed_syncs and total_patterns_synced."""
        return dict(self._stats)


def _patterns(answer: Any) -> Any:
    """Return the patterns of what an update callback gave."""
    if isinstance(answer, Mapping):
        if "patterns" not in answer:
            raise ConvergenceError("the mapping has no patterns")
        return answer["patterns"]
    return answer


def _reason(error: BaseException) -> str:
    return "it took too long" if isinstance(error, TimeoutError) else f"{type(error).__name__}: {error}"
