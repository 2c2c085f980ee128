"""The life of a partition task.

::

                 assigned            fenced             restored            revoked
    CREATED ───────────────► FENCING ──────► RESTORING ─────────► RUNNING ─────────► DRAINING
       │                      ▲   │             │   │              ▲   │                │
       │         assigned     │   │             │   │ revoked      │   │                │ batch done
       │   or time has passed │   │             │   ▼   assigned   │   │                ▼
       │                      │   │             │  PARKED ─────────┘   │              PARKED
       │                      │   ▼             ▼     │                ▼                │
       │                     LOST ◄──────── any failure, of unknown outcome ◄───────────┤
       │                      │                       │                                 │
       └──────────────────────┴──────► CLOSED ◄───────┴── owned by somebody else ◄──────┘

RESTORING goes on when its partition is revoked: eager rebalancing hands most partitions straight back, and a
restore that starts anew at each rebalance may never end (quix-streams #1131). DRAINING may outlast the budget
of the revocation: the batch ends on its own, and is fenced if somebody else has taken over.
"""

from enum import Enum, auto


class TaskState(Enum):
    """Where a partition task stands; only RUNNING sees records."""

    CREATED = auto()
    FENCING = auto()
    RESTORING = auto()
    RUNNING = auto()
    DRAINING = auto()
    PARKED = auto()
    LOST = auto()
    CLOSED = auto()

    def to(self, following: "TaskState") -> "TaskState":
        """Return ``following``; raises IllegalTransition if it cannot follow."""
        if following not in _FOLLOWING[self]:
            raise IllegalTransition(self, following)
        return following


class IllegalTransition(Exception):  # noqa: N818
    """Raised when a task is told to enter a state that cannot follow its own."""

    def __init__(self, state: TaskState, following: TaskState) -> None:
        super().__init__(f"{state.name} -> {following.name}")


_FOLLOWING: dict[TaskState, frozenset[TaskState]] = {
    state: frozenset(following)
    for state, following in {
        TaskState.CREATED: {TaskState.FENCING, TaskState.CLOSED},
        TaskState.FENCING: {TaskState.RESTORING, TaskState.LOST, TaskState.CLOSED},
        TaskState.RESTORING: {TaskState.RUNNING, TaskState.PARKED, TaskState.LOST, TaskState.CLOSED},
        TaskState.RUNNING: {TaskState.DRAINING, TaskState.LOST, TaskState.CLOSED},
        TaskState.DRAINING: {TaskState.PARKED, TaskState.LOST, TaskState.CLOSED},
        TaskState.PARKED: {TaskState.RUNNING, TaskState.LOST, TaskState.CLOSED},
        TaskState.LOST: {TaskState.FENCING, TaskState.CLOSED},
        TaskState.CLOSED: set[TaskState](),
    }.items()
}
