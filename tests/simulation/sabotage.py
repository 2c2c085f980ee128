"""Sabotage: the product with one safety taken out, to prove that the simulation would notice."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import count
from typing import Any
from unittest import mock

from workers.fold import Record, State, Step, Worker
from workers.runtime.port import Message, Sent
from workers.runtime.restore import Restored
from workers.runtime.surroundings import Surroundings
from workers.runtime.task import Task
from workers.runtime.tenure import Tenure


@contextmanager
def state_merged_before_the_commit() -> Iterator[None]:
    """After a failed transaction the task goes on with the state that the step has changed."""
    kept: dict[Worker[State], Restored] = {}
    commit, restore = Tenure._commit, Task._restore

    async def keep(tenure: Tenure, records: Sequence[Record], step: Step, took_s: float = 0.0) -> None:
        try:
            await commit(tenure, records, step, took_s)
        except Exception:
            position = tenure._after(records).flush(0)
            kept[tenure._worker] = Restored(tenure._state, position, tenure._sizes)
            raise

    async def reuse(task: Task) -> Restored:
        return kept.pop(task.worker, None) or await restore(task)

    with mock.patch.object(Tenure, "_commit", keep), mock.patch.object(Task, "_restore", reuse):
        yield


@contextmanager
def _two_transactions(*, state_first: bool) -> Iterator[None]:
    transact = Tenure._transact

    async def split(tenure: Tenure, messages: Sequence[Message], *, publishing: bool) -> list[Sent]:
        changelog = tenure._around.changelog
        state = [message for message in messages if message.topic == changelog]
        outputs = [message for message in messages if message.topic != changelog]
        parts = (state, outputs) if state_first else (outputs, state)
        sent: list[Sent] = []
        for part in parts:
            sent += await transact(tenure, part, publishing=publishing) if part else []
        return sent

    with mock.patch.object(Tenure, "_transact", split):
        yield


def outputs_committed_before_the_state() -> Any:
    """Put outputs and state into two transactions: between them, what is published is forgotten."""
    return _two_transactions(state_first=False)


def positions_committed_before_the_outputs() -> Any:
    """Do it the other way round: between them, what is read is never published."""
    return _two_transactions(state_first=True)


@contextmanager
def a_row_left_out_of_the_changelog() -> Iterator[None]:
    """Of several rows that changed, the changelog gets all but the last."""
    changes = State.changes

    def without_the_last(state: State) -> Iterator[tuple[bytes, bytes | None]]:
        found = list(changes(state))
        yield from found[:-1] or found

    with mock.patch.object(State, "changes", without_the_last):
        yield


@contextmanager
def transactional_ids_of_their_own() -> Iterator[None]:
    """Nobody fences anybody: every take-over has an id that nobody had before."""
    numbers = count()

    def own(_: Surroundings, worker: str, partition: int) -> str:
        return f"{worker}.{partition}.{next(numbers)}"

    with mock.patch.object(Surroundings, "transactional_id", own):
        yield


#: What is taken out, by name.
SABOTAGES: Mapping[str, Callable[[], Any]] = {
    each.__name__: each
    for each in (
        state_merged_before_the_commit,
        outputs_committed_before_the_state,
        positions_committed_before_the_outputs,
        a_row_left_out_of_the_changelog,
        transactional_ids_of_their_own,
    )
}
