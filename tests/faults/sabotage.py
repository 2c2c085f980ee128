"""The nine sabotages: what is done to the product, in the processes of one trial, for the checks to find.

Each breaks one promise in a way that others have broken it, and each is put into the modules from outside.
"""

import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from learning import aggregation as learned
from learning import release
from learning.aggregation import Aggregates, Method
from learning.cells import Cells, Members
from schemas.aggregation import BarrierInstances, RoundBarrier
from workers import aggregation, privacy
from workers.aggregation_state import AggregationState
from workers.fold import Record, Step, Table
from workers.runtime.clock import unix_ms
from workers.runtime.group import Dispatcher
from workers.runtime.kafka import producer
from workers.runtime.port import Message, Sent
from workers.runtime.restore import Restored
from workers.runtime.surroundings import Surroundings
from workers.runtime.task import Task
from workers.runtime.tenure import Tenure


def commit_first() -> None:
    """Commit the position of a batch before it is processed."""
    handle = Tenure._handle

    async def committed_first(self: Tenure, records: Sequence[Record]) -> None:
        self.position = self._after(records)
        await self._commit((), Step())
        await handle(self, records)

    Tenure._handle = committed_first  # type: ignore[method-assign]


def forget_futures() -> None:
    """Commit without a look at what became of each send."""

    async def sent_blindly(client: Any, messages: Sequence[Message]) -> list[Sent]:
        for (topic, partition), _, batch in producer._batches(client, messages):
            sending = await client.send_batch(batch, topic, partition=partition)
            sending.add_done_callback(lambda future: future.exception())
        return [Sent(one.topic, one.partition, -1, unix_ms()) for one in messages]

    producer._send_all = sent_blindly  # type: ignore[assignment]


def random_ids() -> None:
    """Give every task a transactional id of its own, so that nobody is fenced."""
    Surroundings.transactional_id = lambda *_: f"flc.{uuid.uuid4()}"  # type: ignore[method-assign]


def ignore_revocation() -> None:
    """Go on with partitions that are taken away."""

    async def ignored(*_: object) -> None:
        return

    Dispatcher._on_revoked = ignored  # type: ignore[method-assign, assignment]


class _Forgetful(Table[Any]):
    """A table that knows nothing."""

    def get(self, federation: str, key: str = "") -> None:  # noqa: ARG002
        return None


def ignore_sequences() -> None:
    """Judge a report whatever its sequence."""
    initialise = privacy.PrivacyState.__init__

    def forgetful(self: privacy.PrivacyState) -> None:
        initialise(self)
        self.judged = self.tables["judged"] = _Forgetful("judged", privacy.Judged)

    privacy.PrivacyState.__init__ = forgetful  # type: ignore[method-assign]


def sum_floats() -> None:
    """Average strengths as floats, summed in the order in which they arrived."""
    exact = learned.aggregate

    def inexact(cells: Cells, members: Members, method: Method) -> Aggregates:
        aggregates = exact(cells, members, method)
        sums = np.zeros((2, len(aggregates)), dtype=np.float32)
        weights = (members.weight[cells.member] / 1e6).astype(np.float32)
        strengths = (cells.rows["strength"] / 1e6).astype(np.float32)
        np.add.at(sums[0], aggregates.row_of_cell, weights * strengths)
        np.add.at(sums[1], aggregates.row_of_cell, weights)
        strength = np.floor(sums[0] / sums[1] * 1e6 + 0.5).astype(np.int64)
        parts = (strength, aggregates.resonance, aggregates.consensus_score, aggregates.certainty)
        reach = learned._reach(aggregates.organisation_count, aggregates.instance_count, members)
        emergence = np.where(aggregates.in_library, learned.emergence_of(reach, *parts), 0)
        return replace(aggregates, strength=strength, emergence=emergence)

    aggregation.aggregate = inexact  # type: ignore[attr-defined]


def release_by_instances() -> None:
    """Release what enough instances hold, whoever owns them."""
    release.releasable = lambda aggregates, k: (
        (aggregates.instance_count >= k) & (2 * aggregates.largest_organisation_weight <= aggregates.weight)
    )


def trust_dirty_state() -> None:
    """Take a step into the state before it is committed, and keep that state when the commit fails."""
    kept: dict[tuple[str, int], Restored] = {}
    commit, restore = Tenure._commit, Task._restore

    async def merged(self: Tenure, records: Sequence[Record], step: Step, took_s: float = 0.0) -> None:
        self.position = self._after(records)
        kept[self._worker.name, self._partition] = Restored(self._state, self.position, self._sizes)
        await commit(self, (), step, took_s)

    async def trusting(self: Task) -> Restored:
        return kept.get((self.worker.name, self.partition)) or await restore(self)

    Tenure._commit = merged  # type: ignore[method-assign]
    Task._restore = trusting  # type: ignore[method-assign]


def cut_at_the_barrier() -> None:
    """Take what stands in front of a barrier, not what the barrier names."""
    answer = aggregation.Aggregation._answer

    def cut(
        self: aggregation.Aggregation,
        state: AggregationState,
        barrier: RoundBarrier,
        instances: BarrierInstances,
        *more: Any,
    ) -> None:
        latest = {name: held.sequence for name, held in state.named.of(barrier.federation).items()}
        for name, waiting in state.newer.of(barrier.federation).items():
            latest[name] = max(waiting[-1].sequence, latest.get(name, 0))
        named = zip(instances.instance_id, instances.sequence, strict=True)
        sequences = tuple(latest.get(name, sequence) for name, sequence in named)
        answer(self, state, barrier, instances.model_copy(update={"sequence": sequences}), *more)

    aggregation.Aggregation._answer = cut  # type: ignore[method-assign, assignment]


@dataclass(frozen=True)
class Sabotage:
    """A broken promise."""

    what: str
    apply: Callable[[], None]


SABOTAGES = {
    one.apply.__name__: one
    for one in (
        Sabotage("commit before processing", commit_first),
        Sabotage("send futures not awaited", forget_futures),
        Sabotage("random transactional ids", random_ids),
        Sabotage("revoke callback disabled", ignore_revocation),
        Sabotage("no sequence check", ignore_sequences),
        Sabotage("floats summed in arrival order", sum_floats),
        Sabotage("release threshold counted in instances", release_by_instances),
        Sabotage("overlay merged before the commit", trust_dirty_state),
        Sabotage("the barrier's position taken as the cut", cut_at_the_barrier),
    )
}
