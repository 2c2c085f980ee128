"""What can end a partition task, by what is to be done about it."""

from workers.runtime.port import BusError, TopicPartition


class Fatal(Exception):  # noqa: N818
    """Raised when no restart helps: the task ends for good, an operator must act."""


class HistoryLost(Fatal):
    """Raised when what a task has yet to read, or to fold again, is no longer on the bus."""

    def __init__(self, at: TopicPartition, wanted: int, start: int, end: int) -> None:
        super().__init__(
            f"{at.topic}/{at.partition}: offset {wanted} is needed, the log holds [{start}, {end}); "
            "its retention is too short, or the topic was made anew"
        )


class HangingTransaction(Fatal):
    """Raised when a transaction of a changelog is never decided."""

    def __init__(self, at: TopicPartition, offset: int) -> None:
        super().__init__(
            f"hanging transaction at {at.topic}/{at.partition}/{offset}: abort it with kafka-transactions.sh"
        )


class Misconfigured(Fatal):
    """Raised at start when the topics are not as the workers need them."""


class NoProgress(BusError):  # noqa: N818
    """Raised when a restore stands still for no known reason."""
