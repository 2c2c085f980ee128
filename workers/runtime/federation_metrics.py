"""What the operator of a federation watches: its instances, its rounds, and how far it has converged.

Rounds are counted as their events are published. Everything else is a view of the states of the tasks that
run here, taken when somebody asks: it survives a restart, and goes away with the partition.
"""

from collections.abc import Callable, Iterable, Iterator

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from schemas.convergence import ConvergenceUpdated, RoundAbandoned, SynchronizationCompleted
from schemas.dead_letters import DeadLetter
from schemas.event import Event
from schemas.rounds import HandOver, Phase
from workers.fold import Measure, Observation

#: Seconds; a hop takes some 10 ms, a round 100 ms, a deadline up to 10 s.
SECONDS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)

#: So many federations have a label of their own: where enrolment is open anybody can make one.
MAX_FEDERATIONS = 100

#: The label of all others; it is no name.
OTHERS = "_others"

#: Gauges by measure: name, help, labels.
_GAUGES = {
    Measure.INSTANCES: ("flc_instances", "Registered instances by status.", ("federation", "status")),
    Measure.CONVERGENCE: (
        "flc_convergence_ratio",
        "Global convergence of the last round.",
        ("federation",),
    ),
    Measure.ALIGNMENT: ("flc_alignment_ratio", "Pattern alignment of the last round.", ("federation",)),
    Measure.EMERGENCE: ("flc_emergence_ratio", "Global emergence of the last round.", ("federation",)),
    Measure.WITHHELD: (
        "flc_patterns_withheld",
        "Patterns below the release threshold in the last synchronization.",
        ("federation",),
    ),
    Measure.OPENED: (
        "flc_round_opened_timestamp_seconds",
        "When the round in flight was opened; no sample if none is.",
        ("federation", "kind"),
    ),
    Measure.MISSED: (
        "flc_synchronizations_missed",
        "Synchronizations abandoned since one was completed.",
        ("federation",),
    ),
}

#: Measures that can be summed up over federations.
_COUNTS = frozenset({Measure.INSTANCES, Measure.WITHHELD})


class FederationMetrics(Collector):
    """Counts rounds, and collects the gauges."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._rounds = Counter(
            "flc_rounds_total",
            "Rounds that ended, by outcome: completed, or abandoned.",
            ["federation", "kind", "outcome"],
            registry=registry,
        )
        self._phases = Histogram(
            "flc_phase_duration_seconds",
            "Duration of a phase, counted by the worker of the phase behind it.",
            ["phase"],
            buckets=SECONDS,
            registry=registry,
        )
        self._watched: list[Callable[[], Iterable[Observation]]] = []
        self._named: set[str] = set()
        registry.register(self)

    def watch(self, observe: Callable[[], Iterable[Observation]]) -> None:
        """Have the gauges say what ``observe`` returns, too."""
        self._watched.append(observe)

    def published(self, event: Event | DeadLetter | None) -> None:
        """Count what an event says of a round; of one in parts the last part says it."""
        if isinstance(event, RoundAbandoned):
            self._ended(event.federation, event.kind, "abandoned")
        elif isinstance(event, HandOver) and event.part == event.parts - 1:
            started = [phase for phase in Phase if phase in event.phase_started_ms]
            if len(started) > 1:
                before, here = (event.phase_started_ms[phase] for phase in started[-2:])
                self._phases.labels(started[-2]).observe((here - before) / 1000)
        elif (
            isinstance(event, ConvergenceUpdated | SynchronizationCompleted) and event.part == event.parts - 1
        ):
            self._ended(event.federation, event.kind, "completed")
            if isinstance(event, SynchronizationCompleted):
                last_ms = event.phase_duration_ms[Phase.DISTRIBUTION]
                self._phases.labels(Phase.DISTRIBUTION).observe(last_ms / 1000)

    def _ended(self, federation: str, kind: str, outcome: str) -> None:
        self._rounds.labels(self._label(federation), kind, outcome).inc()

    def _label(self, federation: str) -> str:
        if federation not in self._named and len(self._named) >= MAX_FEDERATIONS:
            return OTHERS
        self._named.add(federation)
        return federation

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield the gauges; instances of one federation are told by several partitions."""
        values: dict[Measure, dict[tuple[str, ...], float]] = {measure: {} for measure in Measure}
        for observe in self._watched:
            for measure, (federation, *rest), value in observe():
                labels = (self._label(federation), *rest)
                if labels[0] != OTHERS or measure in _COUNTS:
                    values[measure][labels] = values[measure].get(labels, 0) + value
        for measure, (name, meaning, labels) in _GAUGES.items():
            family = GaugeMetricFamily(name, meaning, labels=labels)
            for of, value in values[measure].items():
                family.add_metric(of, value)
            yield family
