"""All nine folds, each at its own pace: however far one lags behind another, nothing is lost."""

from collections import Counter
from collections.abc import Iterator

import pytest

from convergence.replay.findings import Verdict
from convergence.replay.replay import replay
from schemas.commands import SynchronizationRequested
from schemas.convergence import ConvergenceUpdated, RoundAbandoned, SynchronizationCompleted
from schemas.reasons import Reason
from schemas.reports import Admission
from tests.replay.world import RULES, World
from workers.collection_state import CollectionState
from workers.fold import Outcome
from workers.health import HealthState
from workers.registry import Registration

#: Things that happen in a run.
ACTIONS = 500

#: Runs that ended a worker once.
REGRESSIONS = (18, 40, 57)

#: Outcomes of reports that no result has to answer.
UNANSWERED = {"duplicate", "stale", f"refused:{Reason.TOO_EARLY}"}


class Lagging(World):
    """A world in which a worker may not get its turn for a while, and is restored at any moment."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        #: Worker -> how many of its turns it gets.
        self.shares: dict[str, float] = {}

    def act(self) -> None:
        """Let one thing happen."""
        draw, line = self.random, self.line
        if draw.random() < 0.05:
            self.shares = {task.worker.name: draw.choice((0.0, 0.1, 1.0)) for task in line.tasks}
        self.send(self.outside.record())
        line.now_ms += draw.choice((0, 0, 1, 40, 300))
        for task in draw.sample(line.tasks, len(line.tasks)):
            if draw.random() < self.shares.get(task.worker.name, 1.0):
                line.turn(task)
                if draw.random() < 0.05:
                    task.restart()

    def play(self, actions: int) -> "Lagging":
        """Let things happen, and let the workers come to an end: an update waits as long as one took."""
        super().play(actions)
        self.line.wait(120_000)
        return self

    def wrong(self) -> Iterator[str]:
        """Say what is not as it must be at the end."""
        for finding in replay(self.log(), RULES):
            if finding.verdict is not Verdict.EQUAL or finding.note:
                yield f"{finding.subject}: {finding.difference or finding.note}"
        yield from self._uncovered()
        yield from self._unanswered()
        yield from self._held()

    def _uncovered(self) -> Iterator[str]:
        """Yield the reports that no update covers, of those who have not left since."""
        standing, covered = self._standing(), dict[tuple[str, str], int]()
        for update in self.line.events(ConvergenceUpdated):
            for cover in update.covers:
                at = (update.federation, cover.instance_id)
                covered[at] = max(cover.sequence, covered.get(at, 0))
        for event in self.line.events(Admission):
            at = (event.federation, event.instance_id)
            if at not in standing or event.registration_offset < standing[at].since_offset:
                continue
            if event.outcome not in UNANSWERED and (event.sequence or 0) > covered.get(at, 0):
                yield f"{at}: {event.outcome} at {event.sequence} is not covered"

    def _standing(self) -> dict[tuple[str, str], Registration]:
        """Return the registrations of those who take part."""
        tables = [task.state.registrations for task in self.line.tasks if isinstance(task.state, HealthState)]
        return {
            (federation, instance): registration
            for table in tables
            for federation in table.federations()
            for instance, registration in table.of(federation).items()
            if not registration.deregistered
        }

    def _unanswered(self) -> Iterator[str]:
        """Yield the requests that no synchronization answers, or more than one."""
        ends: list[SynchronizationCompleted | RoundAbandoned] = [
            *self.line.events(SynchronizationCompleted),
            *self.line.events(RoundAbandoned),
        ]
        answered = Counter((end.federation, request) for end in ends for request in end.commands)
        yield from (
            f"{request} is answered {count} times" for request, count in answered.items() if count > 1
        )
        taken = self.line.handled["collection", SynchronizationRequested.topic, Outcome.ACCEPTED]
        if taken != len(answered):
            yield f"{len(answered)} of {taken} requests are answered"

    def _held(self) -> Iterator[str]:
        """Yield what still waits, and whom the collection knows that does not take part, or the reverse."""
        known = set()
        for task in self.line.tasks:
            state, names = task.state, {"parts", "cut", "partials", "waiting", "detected", "awaited"}
            if isinstance(state, CollectionState):
                names |= {"late", "unanswered", "absent"}
                known |= {(of, name) for of in state.health.federations() for name in state.health.of(of)}
            for name in names & state.tables.keys():
                if list(state.tables[name].federations()):
                    yield f"{task.worker.name} still holds {name}"
        yield from (f"{at} is known, or takes part" for at in sorted(known ^ self._standing().keys()))


@pytest.mark.parametrize("seed", [*REGRESSIONS, *range(3)])
def test_however_far_a_worker_lags_behind_nothing_is_lost(seed: int) -> None:
    assert list(Lagging(seed).play(ACTIONS).wrong()) == []
