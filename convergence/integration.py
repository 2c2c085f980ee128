"""A process's way into a federation: its instances, on the configured broker or in memory."""

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from types import TracebackType
from typing import Any, Self

from convergence.errors import ConvergenceError, NotRegistered
from convergence.federated_learning import FederatedLearningConvergence, accounting
from convergence.global_scoring import GlobalScoringAggregator
from convergence.orchestrators import Orchestrators
from convergence.patterns import Pattern, read_patterns
from convergence.results import published_score, published_synchronization, released_pattern, without_result
from convergence.session import Keeper
from convergence.types import (
    AggregatedPattern,
    ConvergenceResult,
    GlobalConvergenceScore,
    InstanceMetadata,
    PatternSignature,
    SynchronizationResult,
    at,
    now,
)
from schemas.convergence import (
    PublicInstanceScores,
    RoundAbandoned,
    RoundEvent,
    RoundResult,
    SynchronizationCompleted,
)
from schemas.knowledge import AggregatedPattern as Released
from schemas.rounds import RoundKind
from workers.runtime.port import BusError
from workers.settings import Settings

_log = logging.getLogger(__name__)

#: What the schedule waits before it tries again, where the bus is away or does not answer, in seconds.
RETRY_S = 60.0


class FederationOnTheBus(FederatedLearningConvergence):
    """The instances of this process and what they hold; the library is what the federation has released."""

    def __init__(self, settings: Settings, knowledge: Callable[[], Mapping[str, Released]]) -> None:
        super().__init__(
            settings.min_epistemic_certainty,
            settings.pattern_quality_threshold,
            timedelta(seconds=settings.heartbeat_timeout_s),
        )
        self._knowledge = knowledge

    @property
    def global_pattern_library(self) -> dict[str, AggregatedPattern]:
        """The released patterns by id, as of the last synchronization that this process took part in."""
        return {
            pattern_id: released_pattern(released, self.min_epistemic_certainty)
            for pattern_id, released in self._knowledge().items()
        }

    def _library_size(self) -> int:
        return len(self._knowledge())


class FederatedConvergenceIntegration:
    """The client of a federation, for any number of instances in this process.

    With a broker configured (KAFKA_BOOTSTRAP_SERVERS) it registers, reports and waits on the bus; with none
    it runs the same workers in this process over a log in memory. The bus is opened by the first use and
    closed by ``close``, by the end of ``async with``, or with the loop; use from another loop opens it anew.

    ``settings`` (default: from the environment) say where and in which federation; ``orchestrators`` are told
    of results, besides those that are found by entry point.
    """

    def __init__(
        self,
        sync_window: timedelta = timedelta(hours=1),
        auto_sync: bool = True,
        *,
        settings: Settings | None = None,
        orchestrators: Iterable[Any] = (),
    ) -> None:
        if sync_window <= timedelta(0):
            raise ValueError("sync_window must be positive")
        self.sync_window = sync_window
        self.auto_sync = auto_sync
        self.settings = settings or Settings()
        #: The instances of this process; the scores of the federation come from the bus.
        self.federated_learning: FederatedLearningConvergence = FederationOnTheBus(
            self.settings, self._knowledge
        )
        self.global_scoring = GlobalScoringAggregator(self.settings.min_instance_weight)
        self._orchestrators = Orchestrators.found(orchestrators)
        self._keeper = Keeper(self.settings, sync_window.total_seconds(), self._begin, self._observe)
        self._schedule: asyncio.Task[None] | None = None
        self._latest: RoundResult | None = None
        self._scores: dict[str, PublicInstanceScores] = {}
        #: When the last round of each kind that was heard of ended (Unix ms, broker time).
        self._heard_ms: dict[RoundKind, int] = {}
        self._synchronized_at = now()
        self._updates = 0
        self._triggers = 0
        self._syncs = {"total_syncs": 0, "successful_syncs": 0, "failed_syncs": 0, "total_patterns_synced": 0}

    async def __aenter__(self) -> Self:
        await self._keeper.session()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Stop the schedule and close the bus; in memory, the federation is gone with it."""
        schedule = self._schedule
        self.stop_auto_sync()
        if schedule is not None:
            await asyncio.wait({schedule})
        await self._keeper.close()
        await self._orchestrators.close()

    async def register_instance(
        self,
        instance_id: str,
        instance_name: str,
        deployment_region: str,
        metadata: Mapping[str, Any] | None = None,
    ) -> InstanceMetadata:
        """Register an instance, or update what is known of it; it lives from now on while the bus is open.

        ``metadata["organisation"]`` names who owns it (default: the instance id). Raises InvalidInstance, a
        ValueError, and NotEnrolled where the operator has not enrolled it.
        """
        instance = self.federated_learning.register_instance(
            instance_id, instance_name, deployment_region, metadata
        )
        session = await self._keeper.session()
        await session.deployment(instance)
        return instance

    async def update_instance_convergence(
        self, instance_id: str, patterns: Iterable[Mapping[str, Any] | Pattern | PatternSignature]
    ) -> ConvergenceResult:
        """Report everything that an instance holds now, and wait for the result that answers.

        Patterns below the gates are filtered and counted in the result's metadata. Raises NotRegistered and
        PatternError (both are ValueErrors; then nothing was published), and NotCovered if no result comes.
        """
        if instance_id not in self.federated_learning.instance_registry:
            raise NotRegistered(instance_id)
        read = read_patterns(patterns)
        session = await self._keeper.session()
        instance = self.federated_learning.instance_registry[instance_id]
        deployment = await session.deployment(instance)
        taken = self.federated_learning.take(instance_id, read)
        deployment.total_requests = instance.total_requests
        update = await deployment.publish(read)
        self._observe(update.result, live=True)
        self._updates += 1
        own = update.scores
        return ConvergenceResult(
            convergence_score=0.0 if own is None else own.convergence_score,
            emergence_score=0.0 if own is None else own.emergence_score,
            patterns_aggregated=update.result.patterns_aggregated,
            instances_contributing=update.result.instance_count,
            pattern_alignment=update.result.pattern_alignment,
            global_emergence_factor=update.result.global_emergence,
            timestamp=at(update.result.timestamp),
            metadata=accounting(instance_id, taken, update.cover.outcome),
        )

    async def synchronize_all_instances(self, sync_window: timedelta | None = None) -> dict[str, Any]:
        """Ask for a synchronization and return its result as a dict; an abandoned one has errors.

        The request is signed by one of this process's instances. Raises NotSynchronized if nobody answers.
        """
        return (await self._synchronize(sync_window)).to_dict()

    async def _synchronize(self, sync_window: timedelta | None = None) -> SynchronizationResult:
        window = self.sync_window if sync_window is None else sync_window
        self._triggers += 1
        session = await self._keeper.session()
        instance = next(iter(self.federated_learning.instance_registry.values()), None)
        if instance is None:
            return without_result("no instance is registered here that could ask", now(), now() + window)
        deployment = await session.deployment(instance)
        event = await deployment.request_synchronization()
        assert not isinstance(event, str)  # noqa: S101  (it was waited for)
        self._observe(event, live=True)
        return published_synchronization(event, window, scheduled=self.settings.bootstrap_servers is not None)

    async def get_global_convergence_score(self) -> GlobalConvergenceScore | None:
        """Return the scores of the last round that was published, or None if there was none yet.

        Those of an instance are as of the last round that said something of it.
        """
        await self._keeper.session()
        if self._latest is None or self._latest.instance_count == 0:
            return None
        score = published_score(self._latest, [self._scores[name] for name in sorted(self._scores)])
        self.global_scoring.count(score.instance_count, self._latest.patterns_aggregated)
        return score

    def start_auto_sync(self) -> None:
        """Ask for a synchronization whenever none was completed for ``sync_window``; needs a running loop.

        Does nothing if ``auto_sync`` is off, or if it was started before.
        """
        if self.auto_sync and (self._schedule is None or self._schedule.done()):
            self._schedule = asyncio.get_running_loop().create_task(self._keep_schedule())

    def stop_auto_sync(self) -> None:
        """Keep the schedule no longer."""
        if self._schedule is not None:
            self._schedule.cancel()
            self._schedule = None

    async def _keep_schedule(self) -> None:
        asked_at = now()
        while True:
            try:
                await self._keeper.session()  # so that those of others are heard of
                due = max(asked_at, self._synchronized_at) + self.sync_window
                if (wait_s := (due - now()).total_seconds()) > 0:
                    await asyncio.sleep(wait_s)
                    continue
                asked_at = now()
                await self._synchronize()
            except (ConvergenceError, BusError) as error:
                _log.warning("synchronization.failed %s", error)
                await asyncio.sleep(min(RETRY_S, self.sync_window.total_seconds()))

    def _knowledge(self) -> Mapping[str, Released]:
        session = self._keeper.current
        return {} if session is None else session.knowledge

    def _begin(self) -> None:
        """Forget what was heard before: another bus may say something else."""
        self._latest = None
        self._scores.clear()
        self._heard_ms.clear()

    def _observe(self, event: RoundEvent, live: bool) -> None:
        """Take an event of the bus; each round counts once, however it is heard of."""
        if not isinstance(event, RoundResult | RoundAbandoned):
            return
        if event.timestamp <= self._heard_ms.get(event.kind, 0):
            return
        self._heard_ms[event.kind] = event.timestamp
        if isinstance(event, RoundResult):
            if isinstance(event, SynchronizationCompleted):
                self._synchronized_at = at(event.timestamp)
                self._scores.clear()
            self._scores.update((scores.instance_id, scores) for scores in event.instance_scores)
            if self._latest is None or self._latest.timestamp <= event.timestamp:
                self._latest = event
        if live:
            self._count(event)
            self._orchestrators.feed(event)

    def _count(self, event: RoundResult | RoundAbandoned) -> None:
        if isinstance(event, SynchronizationCompleted):
            self._syncs["total_syncs"] += 1
            self._syncs["successful_syncs"] += 1
            self._syncs["total_patterns_synced"] += event.patterns_aggregated
        elif isinstance(event, RoundAbandoned):
            self._syncs["total_syncs"] += 1
            self._syncs["failed_syncs"] += 1

    def get_stats(self) -> dict[str, Any]:
        """Return what happened since this object was made.

        ``orchestrator_integrations`` {connected, absent, fed, slow, failed}, ``convergence_updates``,
        ``sync_triggers``, and the statistics of the parts: ``federated_learning_stats``,
        ``global_scoring_stats``, and ``sync_protocol_stats``, which count every synchronization heard of.
        """
        return {
            "orchestrator_integrations": self._orchestrators.stats(),
            "convergence_updates": self._updates,
            "sync_triggers": self._triggers,
            "federated_learning_stats": self.federated_learning.get_stats(),
            "global_scoring_stats": self.global_scoring.get_stats(),
            "sync_protocol_stats": dict(self._syncs),
        }
