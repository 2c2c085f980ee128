"""What is computed in process is what the workers compute: field for field, in micro-units."""

from datetime import timedelta
from random import Random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from convergence.federated_learning import FederatedLearningConvergence
from convergence.global_scoring import GlobalScoringAggregator
from convergence.keys import FederationKey
from convergence.local_federation import Round
from convergence.outbound import report
from convergence.patterns import read_patterns
from convergence.results import global_score
from convergence.synchronization_protocol import LearningSynchronizationProtocol
from convergence.types import now
from schemas.convergence import RoundAbandoned, SynchronizationCompleted
from schemas.health import InstanceHealth
from schemas.rounds import DetectionCompleted
from tests.deployments import Instance
from tests.workers.line import Line
from workers.catalogue import WORKERS
from workers.fold import Record

KEY = b"k" * 32
#: Waits are far shorter or far longer than this, so that no tick falls between the two computations.
TIMEOUT_S = 30
LONG_MS, SHORT_MS = 100_000, 1_000


class Both:
    """The same federation twice: the nine workers over a log, and the classes of the API."""

    def __init__(self, draw: Random) -> None:
        self.draw = draw
        self.line = Line(
            workers=tuple(WORKERS.values()),
            heartbeat_timeout_s=TIMEOUT_S,
            collection_deadline_ms=SHORT_MS,
            buckets=draw.choice((1, 2, 3)),
        )
        self.learning = FederatedLearningConvergence(
            identity_key=KEY, clock=lambda: self.line.now_ms, heartbeat_timeout=timedelta(seconds=TIMEOUT_S)
        )
        self.protocol = LearningSynchronizationProtocol(self.learning, GlobalScoringAggregator())
        self.names = [f"instance-{number}" for number in range(draw.randint(1, 5))]
        self.instances = {}
        for name in self.names:
            owner = f"organisation-{draw.randrange(4)}"
            instance = Instance(name, owner, partitions=self.line.partitions)
            self.instances[name] = instance
            self.send(instance.registered())
            self.learning.register_instance(name, name, "eu", {"organisation": owner})
        self.line.wait(SHORT_MS)

    def send(self, record: Record) -> None:
        assert record.key is not None
        self.line.append(
            record.topic, record.partition, record.key.decode(), record.value, dict(record.headers)
        )

    def patterns(self) -> list[dict[str, Any]]:
        draw = self.draw
        return [
            {
                "pattern_id": f"p{place}",
                "pattern_type": draw.choice(("latency", "retry")),
                "strength": draw.uniform(0.5, 1),
                "resonance": draw.random(),
                "epistemic_certainty": draw.uniform(0.82, 1),
                "frequency": draw.randint(1, 2**31 - 1),
            }
            for place in (draw.randrange(8) for _ in range(draw.randint(0, 12)))  # some of them twice
        ]

    def reliability(self) -> None:
        """Tell the classes what the health worker saw of heartbeats; in process nobody expects any."""
        for health in self.line.events(InstanceHealth):
            known = self.learning.instance_registry[health.instance_id]
            known.reliability_score = health.reliability / 1e6

    async def publish(self) -> None:
        name, patterns = self.draw.choice(self.names), self.patterns()
        if self.draw.random() < 0.5:
            self.send(self.instances[name].beat(self.line.now_ms))
            self.learning.update_instance_heartbeat(name)
        event = report("default", name, self.line.now_ms, FederationKey(0, KEY), read_patterns(patterns))
        self.send(self.instances[name].record(event, at_ms=self.line.now_ms))
        self.line.run()
        self.reliability()
        result = await self.learning.aggregate_learning(name, patterns)
        self.line.wait(SHORT_MS)
        detected = self.line.events(DetectionCompleted)[-1]
        assert_equal(last_round(self.learning), detected)
        row = detected.instances.instance_id.index(name)
        assert result.convergence_score == detected.scores.convergence[row] / 1e6
        assert result.emergence_score == detected.scores.emergence[row] / 1e6
        assert result.patterns_aggregated == detected.library
        cover = next(cover for cover in detected.covers if cover.instance_id == name)
        assert result.metadata["outcome"] == cover.outcome

    async def synchronize(self, number: int) -> None:
        self.line.ask(f"request-{number}")
        self.line.wait(SHORT_MS)  # up to the deadline, for nobody answers the announcement
        self.reliability()
        result = await self.protocol.synchronize_learning()
        self.line.wait(SHORT_MS)
        ends = self.line.events(SynchronizationCompleted)
        if result.errors:
            assert len(self.line.events(RoundAbandoned)) + len(ends) == number
            return
        assert result.convergence_achieved == ends[-1].convergence_achieved
        assert result.instances_synced == ends[-1].instances_synced
        detected = self.line.events(DetectionCompleted)[-1]
        assert detected.round_id == ends[-1].round_id
        assert_equal(last_round(self.learning), detected)


def last_round(learning: FederatedLearningConvergence) -> Round:
    assert learning._last is not None
    return learning._last[0]


def assert_equal(done: Round, detected: DetectionCompleted) -> None:
    instances = detected.instances
    assert done.instances.instance_id == instances.instance_id
    assert done.instances.drop_reason == instances.drop_reason
    assert done.instances.weight == instances.weight
    assert done.instances.data_quality == instances.data_quality
    rows = [row for row, reason in enumerate(instances.drop_reason) if reason is None]
    for name, column in vars(done.scores.members).items():
        assert column.tolist() == [getattr(detected.scores, name)[row] for row in rows], name
    assert detected.global_scores is not None
    assert vars(done.scores.overall) == dict(detected.global_scores)
    score = global_score(done, now())
    assert GlobalScoringAggregator().validate_convergence(score) == detected.converged
    for name, value in detected.global_scores:
        assert getattr(score, name) == value / 1e6, name


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**64))
async def test_every_round_of_a_random_federation_is_the_same(seed: int) -> None:
    draw = Random(seed)  # noqa: S311
    both = Both(draw)
    synchronizations = 0
    for _ in range(draw.randint(3, 10)):
        step = draw.random()
        if step < 0.6:
            await both.publish()
        elif step < 0.85:
            synchronizations += 1
            await both.synchronize(synchronizations)
        else:
            both.line.wait(LONG_MS)
