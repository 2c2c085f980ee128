"""Waiting for the result that answers a report."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from schemas.convergence import ConvergenceUpdated, PublicInstanceScores, RoundEvent
from schemas.rounds import Cover


@dataclass(frozen=True, slots=True)
class Update:
    """What the federation answered to a report."""

    #: Of the report that was published.
    sequence: int
    #: Its answer: ``cover.sequence`` is at least the report's own.
    cover: Cover
    #: The whole result, with the global scores.
    result: ConvergenceUpdated

    @property
    def included(self) -> bool:
        """Whether the report counted; else ``cover.outcome`` says why not."""
        return self.cover.outcome == "included"

    @property
    def scores(self) -> PublicInstanceScores | None:
        """The instance's own scores, if it was included."""
        own = (
            scores for scores in self.result.instance_scores if scores.instance_id == self.cover.instance_id
        )
        return next(own, None)


class Covers:
    """The reports of one instance that wait for their cover. A cover answers every sequence up to its own."""

    def __init__(self, instance_id: str) -> None:
        self._instance_id = instance_id
        self._waiting: set[tuple[int, asyncio.Future[Update]]] = set()

    @contextmanager
    def expect(self, sequence: int) -> Iterator[asyncio.Future[Update]]:
        """Yield the future answer to a report; enter before the report is sent."""
        future: asyncio.Future[Update] = asyncio.get_running_loop().create_future()
        waiting = (sequence, future)
        self._waiting.add(waiting)
        try:
            yield future
        finally:
            self._waiting.discard(waiting)
            future.cancel()

    def take(self, event: RoundEvent) -> None:
        """Answer what an event of the convergence topic covers."""
        if not isinstance(event, ConvergenceUpdated):
            return
        for cover in event.covers:
            if cover.instance_id != self._instance_id:
                continue
            for sequence, future in self._waiting:
                if sequence <= cover.sequence and not future.done():
                    future.set_result(Update(sequence, cover, event))

    def fail(self, error: BaseException) -> None:
        """Give everybody who waits the error: no answer will come."""
        for _, future in self._waiting:
            if not future.done():
                future.set_exception(error)
