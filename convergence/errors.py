"""What can go wrong for a user of the client: one root, a shallow tree, data rather than prose."""

from collections.abc import Sequence


class ConvergenceError(Exception):
    """Raised when the client cannot do what it was asked; the root of all below."""


class KeyFileError(ConvergenceError):
    """Raised when a key file is missing, exists already, is damaged, or is open to others."""


class PatternError(ConvergenceError, ValueError):
    """Raised when a pattern is not one; names its index and the field."""

    def __init__(self, index: int, field: str, reason: str) -> None:
        super().__init__(f"pattern {index}: {field}: {reason}" if field else f"pattern {index}: {reason}")
        self.index = index
        self.field = field
        self.reason = reason


class TooManyPatterns(ConvergenceError, ValueError):  # noqa: N818
    """Raised when more patterns are published than one report holds."""

    def __init__(self, count: int, limit: int) -> None:
        super().__init__(f"{count} patterns do not fit into one report: it holds at most {limit}")
        self.count = count
        self.limit = limit


class TopicsMissing(ConvergenceError):  # noqa: N818
    """Raised when topics that the client needs are not on the bus."""

    def __init__(self, topics: Sequence[str]) -> None:
        super().__init__(f"not on the bus: {', '.join(topics)} (create them with `flc topics apply`)")
        self.topics = tuple(topics)


class EnrolmentError(ConvergenceError):
    """Raised when an instance's registration does not allow what was asked."""

    def __init__(self, federation: str, instance_id: str, reason: str) -> None:
        super().__init__(f"{federation}/{instance_id}: {reason}")
        self.federation = federation
        self.instance_id = instance_id
        self.reason = reason


class NotEnrolled(EnrolmentError):  # noqa: N818
    """Raised when an instance has no registration, or none that holds its key."""


class NotRegistered(ConvergenceError, ValueError):  # noqa: N818
    """Raised when an instance is used that was not registered here."""

    def __init__(self, instance_id: str) -> None:
        super().__init__(f"Instance {instance_id} not registered")
        self.instance_id = instance_id


class InvalidInstance(ConvergenceError, ValueError):  # noqa: N818
    """Raised when an instance cannot be registered as it is described; names the field."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field}: {reason}")
        self.field = field
        self.reason = reason


class SessionClosed(ConvergenceError):  # noqa: N818
    """Raised when the bus was closed while somebody waited for it."""

    def __init__(self) -> None:
        super().__init__("the bus was closed meanwhile")


class UnknownInstance(ConvergenceError):  # noqa: N818
    """Raised when nothing is known of an instance."""


class UnknownRound(ConvergenceError):  # noqa: N818
    """Raised when nothing is known of a round."""


class TimedOut(ConvergenceError):  # noqa: N818
    """Raised when an answer did not come in time; the parent of the named ones."""


class NotCovered(TimedOut):
    """Raised when no result covered a report in time."""

    def __init__(self, federation: str, instance_id: str, sequence: int, timeout_s: float) -> None:
        super().__init__(
            f"no result covered report {sequence} of {federation}/{instance_id} within {timeout_s:g} s. "
            f"Look at: the topic flc.dead-letters.v1 (the only answer to one that cannot be authenticated), "
            f"`flc instances show {instance_id}` (was it judged?), the workers' /readyz (do all run?)"
        )
        self.federation = federation
        self.instance_id = instance_id
        self.sequence = sequence
        self.timeout_s = timeout_s


class NotSynchronized(TimedOut):
    """Raised when no synchronization answered a request in time."""

    def __init__(self, federation: str, request_id: str, timeout_s: float) -> None:
        super().__init__(
            f"no synchronization of {federation} answered request {request_id} within {timeout_s:g} s. "
            f"Look at: the topic flc.dead-letters.v1 (was the command refused?), `flc rounds list` "
            f"(is one under way?), the workers' /readyz (do all run?)"
        )
        self.federation = federation
        self.request_id = request_id
        self.timeout_s = timeout_s


class KnowledgeIncomplete(TimedOut):
    """Raised when the knowledge of a synchronization was not whole in time."""

    def __init__(self, federation: str, number: int, missing: Sequence[int], timeout_s: float) -> None:
        super().__init__(
            f"the knowledge of synchronization {number} of {federation} was not whole "
            f"within {timeout_s:g} s: no mark yet in partitions {', '.join(map(str, missing))}"
        )
        self.federation = federation
        self.number = number
        self.missing = tuple(missing)
        self.timeout_s = timeout_s
