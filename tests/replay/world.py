"""Logs to be replayed: random federations, and the folds that take what comes from outside."""

from random import Random

from convergence.replay.log import Log, gathered
from convergence.replay.rules import Rules
from schemas.signing import public_key
from tests.deployments import OPERATOR
from tests.replay.outside import Outside
from tests.workers.line import Line
from workers.catalogue import WORKERS
from workers.fold import Record

#: What the workers of these worlds judge by.
RULES = Rules(operator_keys=dict.fromkeys(("default", "other"), public_key(OPERATOR)))

#: Far behind everything: whatever is missing is missing.
SETTLED_MS = 1 << 60


class World:
    """Two federations, and the nine workers that take what their instances send."""

    def __init__(self, seed: int, patterns: int = 12) -> None:
        self.random = Random(seed)  # noqa: S311
        self.line = Line(
            self.random.choice((1, 2, 3)),
            workers=WORKERS.values(),
            batch=self.random.choice((1, 4, 1_000)),
            release_threshold=self.random.choice((2, 3, 5)),
            collection_deadline_ms=1_000,
            acknowledgement_deadline_ms=500,
            heartbeat_timeout_s=20,
            aggregation_method=self.random.choice(("mean", "median")),
        )
        self.outside = Outside.of(
            self.random, {"default": 7, "other": 4}, self.line.partitions, lambda: self.line.now_ms, patterns
        )

    def send(self, record: Record) -> None:
        """Append what somebody sends, now."""
        key = None if record.key is None else record.key.decode("latin-1")
        self.line.append(record.topic, record.partition, key, record.value, dict(record.headers))

    def act(self) -> None:
        """Let one thing happen."""
        draw, line = self.random, self.line
        self.send(self.outside.record())
        if draw.random() < 0.5:
            line.run()
        line.now_ms += draw.choice((0, 0, 1, 40))
        if draw.random() < 0.15:
            line.wait(draw.choice((100, 600, 2_000)))

    def play(self, actions: int) -> "World":
        """Enrol everybody, let things happen, and let the workers come to an end."""
        for instance in self.outside.instances:
            self.send(self.outside.enrol(instance))
        for _ in range(actions):
            self.act()
        self.line.wait(3_000)
        return self

    def log(self, settled_ms: int = SETTLED_MS) -> Log:
        """Return what a reader finds."""
        return log_of(self.line, self.line.log, settled_ms)


def log_of(line: Line, records: list[Record], settled_ms: int = SETTLED_MS) -> Log:
    """Return records as a log in which retention has removed nothing."""
    starts = {(topic, number): 0 for topic, count in line.partitions.items() for number in range(count)}
    return Log(gathered(records), starts, settled_ms)
