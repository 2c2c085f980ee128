"""What a restore gives has to be the state that the task had when it committed the position restored to."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any
from unittest import mock

from workers.fold import State
from workers.runtime.port import Message, Sent
from workers.runtime.position import POSITION_KEY
from workers.runtime.restore import Restored
from workers.runtime.task import Task
from workers.runtime.tenure import Tenure

#: Table -> federation -> key -> row.
Rows = Mapping[str, Mapping[str, Mapping[str, Any]]]


class Restores:
    """Remembers the state of every transaction, whatever becomes of it, and compares each restore.

    Every tenure begins with a restored state. So, one after the other, all are those of a worker to which
    nothing ever happened.
    """

    def __init__(self) -> None:
        self.compared = 0
        self.wrong: list[str] = []
        #: Changelog, partition, bytes of the position -> states with which it was written: as a rule one.
        self._written: dict[tuple[str, int, bytes], list[Rows]] = {}

    @contextmanager
    def watched(self) -> Iterator[None]:
        """See every transaction and every restore while the block runs."""
        transact, restore = Tenure._transact, Task._restore

        async def remember(tenure: Tenure, messages: Sequence[Message], *, publishing: bool) -> list[Sent]:
            for message in messages:
                if message.key == POSITION_KEY:
                    at = (message.topic, message.partition, message.value or b"")
                    self._written.setdefault(at, []).append(_rows(tenure._state))
            return await transact(tenure, messages, publishing=publishing)

        async def compare(task: Task) -> Restored:
            restored = await restore(task)
            at = (task._around.changelog, task.partition, restored.position.encode())
            self._compare(f"{task.worker.name}/{task.partition}", restored, self._written.get(at, [{}]))
            return restored

        with mock.patch.object(Tenure, "_transact", remember), mock.patch.object(Task, "_restore", compare):
            yield

    def _compare(self, where: str, restored: Restored, written: Sequence[Rows]) -> None:
        rows = _rows(restored.state)
        self.compared += bool(rows)
        if rows not in written:
            differ = sorted(name for name in rows.keys() | written[-1].keys()
                            if rows.get(name) != written[-1].get(name))  # fmt: skip
            self.wrong.append(
                f"{where} restored at {dict(restored.position.next)}: {', '.join(differ)} differ"
            )


def _rows(state: State) -> Rows:
    """Return what is in the changelog of a state; rows are frozen, so copies of the tables will do."""
    return {
        name: {federation: dict(table.of(federation)) for federation in table.federations()}
        for name, table in state.tables.items()
        if not table.volatile and table.federations()
    }
