"""What is counted is documented, and the reverse; what a federation's operator watches is right."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry

from schemas.convergence import RoundAbandoned
from schemas.rounds import Phase
from tests.runtime.toys import NUMBERS, Adder, AdderState, World, until
from tests.workers.line import Line, Task, shared_rows
from workers.fold import Measure, Observation, Step
from workers.runtime.federation_metrics import MAX_FEDERATIONS, OTHERS, FederationMetrics
from workers.runtime.memory import MemoryBus
from workers.runtime.metrics import Metrics
from workers.runtime.supervisor import Process

TABLE = Path(__file__).parents[2] / "docs" / "metrics.md"


class Watched(Adder):
    """An adder that tells of its state: one federation in every partition, and one in all of them."""

    name = "watched"

    def observe(self, state: AdderState) -> Iterable[Observation]:  # noqa: ARG002
        for federation in ("everywhere", f"of-{self.context.partition}"):
            yield Observation(Measure.INSTANCES, (federation, "active"), 2)


def rows(registry: CollectorRegistry) -> list[str]:
    """Return the rows of the table that a registry calls for."""
    suffix = {"counter": "_total", "info": "_info"}
    labels = {
        name: collector._labelnames
        for collector, names in registry._collector_to_names.items()
        if hasattr(collector, "_labelnames")
        for name in names
    }
    found = []
    for family in registry.collect():
        of = (
            ("version",)
            if family.type == "info"
            else labels.get(family.name, getattr(family, "_labelnames", ()))
        )
        written = ", ".join(f"`{label}`" for label in of)
        name = family.name + suffix.get(family.type, "")
        kind = "gauge" if family.type == "info" else family.type  # what the text format says
        found.append(f"| `{name}` | {kind} | {written} | {family.documentation} |")
    return sorted(found)


def test_every_metric_is_documented_and_every_documented_one_exists() -> None:
    documented = [line for line in TABLE.read_text().splitlines() if line.startswith("| `flc_")]
    assert documented == rows(Metrics().registry)


def test_nothing_is_told_that_is_not_documented() -> None:
    metrics = Metrics()
    metrics.start(Adder)
    documented = set(re.findall(r"^\| `(flc_\w+)`", TABLE.read_text(), re.MULTILINE))
    told = set(re.findall(r"^# TYPE (\w+)", metrics.exposition().decode(), re.MULTILINE))
    assert told == documented


async def test_the_gauges_of_a_revoked_partition_go_away() -> None:
    world = World(workers=(Watched,))
    async with world.running() as first:
        assert instances(first, "everywhere") == 4
        assert instances(first, "of-0") == instances(first, "of-1") == 2
        async with world.running(MemoryBus(world.log)) as second:
            await until(lambda: first.ready and second.ready and instances(first, "everywhere") == 2)
            assert instances(first, "of-1") is None
            assert instances(second, "of-1") == 2
            assert instances(second, "of-0") is None


def instances(process: Process, federation: str) -> float | None:
    return process.metrics.registry.get_sample_value(
        "flc_instances", {"federation": federation, "status": "active"}
    )


def test_only_so_many_federations_have_a_label() -> None:
    registry = CollectorRegistry()
    metrics = FederationMetrics(registry)
    count = MAX_FEDERATIONS + 5
    metrics.watch(
        lambda: [Observation(Measure.INSTANCES, (f"f{number}", "active"), 1) for number in range(count)]
    )
    metrics.watch(lambda: [Observation(Measure.ALIGNMENT, (f"f{number}",), 0.5) for number in range(count)])
    text = exposed(registry)
    assert text["flc_instances", OTHERS] == 5
    assert ("flc_alignment_ratio", OTHERS) not in text
    assert len([of for name, of in text if name == "flc_alignment_ratio"]) == MAX_FEDERATIONS


def exposed(registry: CollectorRegistry) -> dict[tuple[str, str], float]:
    """Return the samples by name and federation."""
    return {
        (sample.name, sample.labels["federation"]): sample.value
        for family in registry.collect()
        for sample in family.samples
        if "federation" in sample.labels
    }


class CountedLine(Line):
    """A line whose published events and states are watched."""

    def __init__(self, **changes: Any) -> None:
        super().__init__(**changes)
        self.registry = CollectorRegistry()
        self.metrics = FederationMetrics(self.registry)
        self.metrics.watch(lambda: [told for task in self.tasks for told in task.worker.observe(task.state)])

    def _publish(self, task: Task, step: Step) -> None:
        for emit in step.emits:
            self.metrics.published(emit.event)
        super()._publish(task, step)

    def value(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(name, labels)


def test_rounds_phases_and_scores_are_told() -> None:
    line = CountedLine(acknowledgement_deadline_ms=3_000, release_threshold=2)
    for name in ("alpha", "beta"):
        line.report(name, shared_rows(), 1)
    line.wait(1_000)
    line.ask("please")
    line.run()
    line.now_ms += 2_000
    line.report("alpha", shared_rows(4), 2)
    line.report("beta", shared_rows(), 2)
    line.wait(10_000)
    of = {"federation": "default"}
    assert line.value("flc_rounds_total", kind="update", outcome="completed", **of) == 2
    assert line.value("flc_rounds_total", kind="synchronization", outcome="completed", **of) == 1
    sums = {phase: line.value("flc_phase_duration_seconds_sum", phase=phase) for phase in list(Phase)[:-1]}
    assert sums == {
        "collection": 2.0,
        "validation": 0.0,
        "aggregation": 0.0,
        "detection": 0.0,
        "distribution": 3.0,
    }
    counts = [line.value("flc_phase_duration_seconds_count", phase=phase) for phase in list(Phase)[:-1]]
    assert counts == [3, 3, 3, 1, 1]
    assert line.value("flc_patterns_withheld", **of) == 1
    for name in ("convergence", "alignment", "emergence"):
        assert 0 < (line.value(f"flc_{name}_ratio", **of) or 0) <= 1


def test_an_abandoned_round_is_counted() -> None:
    line = CountedLine(collection_deadline_ms=1_000)
    line.report("alpha", shared_rows(), 1)
    line.ask("please")
    line.wait(2_000)
    assert line.events(RoundAbandoned)
    assert (
        line.value("flc_rounds_total", federation="default", kind="synchronization", outcome="abandoned") == 1
    )


def test_missed_synchronizations_are_told_until_one_is_completed() -> None:
    line = CountedLine(collection_deadline_ms=1_000)
    line.report("alpha", shared_rows(), 1)
    for request in ("first", "second"):
        line.ask(request)
        line.wait(2_000)
    assert line.value("flc_synchronizations_missed", federation="default") == 2
    line.report("beta", shared_rows(), 1)
    line.ask("third")
    line.wait(2_000)
    assert line.value("flc_synchronizations_missed", federation="default") == 0


def test_a_round_in_flight_says_since_when() -> None:
    line = CountedLine(collection_deadline_ms=1_000)
    of = {"federation": "default", "kind": "synchronization"}
    line.report("alpha", shared_rows(), 1)
    line.ask("please")
    line.run()
    assert line.value("flc_round_opened_timestamp_seconds", **of) == line.now_ms / 1000
    line.wait(2_000)
    assert line.value("flc_round_opened_timestamp_seconds", **of) is None


def test_the_counters_of_a_worker_start_at_zero() -> None:
    metrics = Metrics()
    metrics.start(Adder)
    for name, labels in (
        ("flc_records_read_total", {"topic": NUMBERS}),
        ("flc_records_handled_total", {"topic": NUMBERS, "outcome": "dead_lettered"}),
        ("flc_dead_letters_total", {"reason": "bad_signature"}),
        ("flc_transactions_total", {"outcome": "unknown"}),
    ):
        assert metrics.registry.get_sample_value(name, {"worker": "adder", **labels}) == 0


def test_the_scores_survive_a_restart() -> None:
    line = CountedLine(restarting=True)
    line.report("alpha", shared_rows(), 1)
    line.run()
    assert line.value("flc_convergence_ratio", federation="default") is not None
