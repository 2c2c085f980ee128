"""What a partition task tells a tracer: one hop for each step that publishes something.

A hop goes into the headers of what it publishes (W3C ``traceparent``), so that the next one can link to it.
Switched off nothing is told, nothing is imported, and no header is written.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Protocol, Self

from schemas.cloudevents import Headers
from workers.fold import Emit, Record


class Hop(Protocol):
    """From the first record of a step taken to its commit."""

    def headers(self, emit: Emit) -> Headers:
        """Return what the record of an emit carries of the trace."""


class Tracing(Protocol):
    """Makes hops."""

    def hop(
        self, worker: str, partition: int, records: Sequence[Record], emits: Sequence[Emit], took_s: float
    ) -> AbstractContextManager[Hop]:
        """Return the hop of a step that began ``took_s`` ago; an error in the block is its error."""


class _Off:
    """Neither a hop nor a trace."""

    def hop(self, *_: object) -> "_Off":
        return self

    def headers(self, _: Emit) -> Headers:
        return ()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass


OFF: Tracing = _Off()
