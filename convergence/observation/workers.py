"""The workers as their consumer groups show them: who holds what, how far behind, and the last progress."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from convergence.observation.lag import LagState, Window, worst
from workers.catalogue import WORKERS
from workers.runtime.port import GroupDescription, TopicPartition


@dataclass(frozen=True, slots=True)
class PartitionView:
    """A partition number of a worker, over all topics that it reads."""

    number: int
    state: LagState
    lag: int
    #: None: nobody holds it.
    member: str | None


@dataclass(frozen=True, slots=True)
class WorkerView:
    """A worker over all its processes."""

    worker: str
    state: LagState
    #: Records that are there and not handled yet.
    lag: int
    members: int
    partitions: tuple[PartitionView, ...]
    last_commit_ms: int | None
    last_progress_ms: int | None


class Workers:
    """What was seen of the consumer groups so far."""

    def __init__(self) -> None:
        self._windows: dict[str, dict[TopicPartition, Window]] = {name: {} for name in WORKERS}
        self._groups: dict[str, GroupDescription] = {}

    def see(
        self, worker: str, group: GroupDescription, ends: Mapping[TopicPartition, int], now_ms: int
    ) -> None:
        """Take a look at a worker's group; ``ends`` has every partition that it should read."""
        self._groups[worker] = group
        windows = self._windows[worker]
        for at, end in ends.items():
            window = windows.setdefault(at, Window())
            if (commit := group.commits.get(at)) is not None:
                window.see(commit.offset, commit.at_ms, end, now_ms)
            else:
                window.lag = end

    def views(self, now_ms: int) -> tuple[WorkerView, ...]:
        """Return the workers that were looked at, in the order in which a report passes them."""
        return tuple(self._view(worker, now_ms) for worker in WORKERS if worker in self._groups)

    def _view(self, worker: str, now_ms: int) -> WorkerView:
        group, windows = self._groups[worker], self._windows[worker]
        numbers = sorted({at.partition for at in windows})
        partitions = tuple(
            _partition(
                number,
                {at: window for at, window in windows.items() if at.partition == number},
                group,
                now_ms,
            )
            for number in numbers
        )
        return WorkerView(
            worker=worker,
            state=worst([partition.state for partition in partitions]),
            lag=sum(partition.lag for partition in partitions),
            members=len(group.members),
            partitions=partitions,
            last_commit_ms=_latest(window.committed_ms for window in windows.values()),
            last_progress_ms=_latest(window.moved_ms for window in windows.values()),
        )


def _partition(
    number: int, windows: Mapping[TopicPartition, Window], group: GroupDescription, now_ms: int
) -> PartitionView:
    owners = [member for member, owned in group.members.items() if not owned.isdisjoint(windows)]
    return PartitionView(
        number=number,
        state=worst([window.state(now_ms) for window in windows.values()]),
        lag=sum(window.lag for window in windows.values()),
        member=owners[0] if owners else None,
    )


def _latest(moments: Iterable[int | None]) -> int | None:
    return max((moment for moment in moments if moment is not None), default=None)
