"""A federation whose records come from the real folds, and what an operator sees of it."""

from typing import Any

from convergence.observation.observation import TOPICS, Observation
from tests.workers.line import Line, shared_rows

FEDERATION = "default"


class Observed(Line):
    """The workers in a row, and an observation that reads what they write."""

    def __init__(self, **changes: Any) -> None:
        super().__init__(**({"release_threshold": 3} | changes))
        self.observation = Observation(FEDERATION)
        self._observed = 0

    def observe(self) -> Observation:
        """Let the workers finish, and the observation read what is new."""
        self.run()
        for record in self.log[self._observed :]:
            if record.topic in TOPICS:
                self.observation.take(record)
        self._observed = len(self.log)
        return self.observation

    def learn(self, *instances: str, sequence: int = 1, strength: int = 900_000) -> None:
        """Let each instance report the same shared patterns; all then synchronize."""
        for name in instances:
            self.report(name, shared_rows(strength=strength), sequence)
        self.synchronize(f"request-{sequence}", *instances, sequence=sequence + 1)

    def synchronize(self, request: str, *instances: str, sequence: int) -> None:
        """Ask for a synchronization, to which these instances answer, and let it end."""
        self.ask(request)
        self.run()
        for name in instances:
            self.report(name, shared_rows(), sequence)
        self.wait(60_000)
