"""Whole rounds, through all seven workers, against the reference's integers."""

import random
from collections.abc import Mapping
from typing import Any

import pytest

from convergence.replay import reference
from convergence.replay.reference import Row
from convergence.replay.weights import cap
from schemas.convergence import ConvergenceUpdated, RoundAbandoned, SynchronizationCompleted
from schemas.health import Status
from schemas.knowledge import AggregatedPattern, KnowledgeMark
from schemas.rounds import AggregationCompleted, DetectionCompleted, RoundKind
from tests.deployments import Instance
from tests.workers.line import Line, shared_rows, signature
from workers.catalogue import WORKERS
from workers.fold import Record
from workers.handover import join

#: Scores of the events and of the reference, by name.
GLOBALS = {
    "global_convergence": "convergence",
    "pattern_alignment": "alignment",
    "global_emergence": "emergence",
    "convergence_variance": "variance",
    "mean_convergence": "mean",
    "weighted_mean_convergence": "weighted_mean",
}


class Federation:
    """A random federation: reports, organisations and weights before the cap."""

    def __init__(self, seed: int, instances: int = 9, organisations: int = 7, patterns: int = 20) -> None:
        self.random = random.Random(seed)  # noqa: S311
        names = [f"i{number}" for number in range(instances)]
        self.organisations = {
            name: f"o{number % organisations}" if number < organisations else "o0"
            for number, name in enumerate(names)
        }
        self.weights = {name: self.random.randint(100_000, 1_000_000) for name in names}
        self.patterns = patterns
        self.reports = {name: self.rows() for name in names}

    def rows(self) -> dict[str, Row]:
        """Return the rows of one report."""
        draw = self.random
        return {
            signature(number): (
                draw.choice(["slow", "loud", "lost"]),
                draw.randint(450_000, 1_000_000),
                draw.randint(0, 1_000_000),
                draw.randint(950_000, 1_000_000),
                draw.randint(1, 2**31 - 1),
            )
            for number in range(self.patterns)
            if draw.random() < 0.8
        }

    def publish(self, line: Line, sequence: int) -> None:
        """Append the reports of all instances."""
        for name, rows in self.reports.items():
            line.report(name, rows, sequence, self.organisations[name], weight=self.weights[name])

    def expected(
        self, participation: Mapping[str, tuple[int, int]], configuration: reference.Configuration
    ) -> reference.Result:
        """Return what the reference says."""
        weights = cap(self.weights, self.organisations)
        return reference.compute(self.reports, self.organisations, weights, participation, configuration)


def assert_same(detected: DetectionCompleted, expected: reference.Result) -> None:
    scores = detected.global_scores
    assert scores is not None
    assert {theirs: getattr(scores, ours) for ours, theirs in GLOBALS.items()} == {
        theirs: expected.federation[theirs] for theirs in GLOBALS.values()
    }
    assert detected.library == expected.federation["library"]
    assert detected.converged == expected.converged
    assert {each.name: (each.value, each.met, each.distance) for each in detected.criteria} == {
        name: (facts["value"], facts["met"], facts["distance"]) for name, facts in expected.criteria.items()
    }
    for row, instance in enumerate(detected.instances.instance_id):
        ours = {name: column[row] for name, column in dict(detected.scores).items()}
        assert ours == expected.instances[instance]


def detected_of(line: Line, kind: RoundKind, number: int) -> DetectionCompleted:
    return join(
        [each for each in line.events(DetectionCompleted) if (each.kind, each.number) == (kind, number)]
    )


METHODS: list[dict[str, Any]] = [
    {},
    {"aggregation_method": "median"},
    {"aggregation_method": "trimmed", "aggregation_trim": 0.2},
]


@pytest.mark.parametrize("buckets", [1, 3, 6])
@pytest.mark.parametrize("method", METHODS)
def test_a_round_of_each_kind_gives_the_integers_of_the_reference(
    buckets: int, method: dict[str, Any]
) -> None:
    federation = Federation(seed=buckets)
    line = Line(buckets, restarting=True, batch=3, release_threshold=3, **method)
    configuration = reference.Configuration(
        method=method.get("aggregation_method", "mean"),
        trim=int(method.get("aggregation_trim", 0) * 1_000_000),
        release_threshold=3,
    )
    federation.publish(line, 1)
    line.wait(1_000)
    updates = line.events(ConvergenceUpdated)
    last = detected_of(line, RoundKind.UPDATE, updates[-1].number)
    assert_same(last, federation.expected({}, configuration))

    line.ask("please")
    line.run()
    for name in list(federation.reports)[:4]:
        federation.reports[name] = federation.rows()
    federation.publish(line, 2)
    line.wait(60_000)
    expected = federation.expected({}, configuration)
    assert_same(detected_of(line, RoundKind.SYNCHRONIZATION, 1), expected)
    (result,) = line.events(SynchronizationCompleted)
    assert result.commands == ("please",)
    assert {
        pattern.pattern_id: {
            "pattern_type": pattern.pattern_type,
            "organisation_count": pattern.organisation_count,
            "instance_count": pattern.instance_count,
            "total_frequency": pattern.total_frequency,
            "hundredths": tuple(
                round(100 * value)
                for value in (
                    pattern.average_strength,
                    pattern.average_resonance,
                    pattern.average_epistemic_certainty,
                    pattern.consensus_score,
                )
            ),
        }
        for pattern in line.events(AggregatedPattern)
    } == expected.releases
    assert [mark.bucket for mark in line.events(KnowledgeMark)] == list(range(buckets))
    (aggregated,) = [
        each for each in line.events(AggregationCompleted) if each.kind is RoundKind.SYNCHRONIZATION
    ]
    assert aggregated.releases is not None
    assert aggregated.releases.released == len(expected.releases)
    assert aggregated.releases.withheld == len(expected.aggregates) - len(expected.releases)


def test_participation_of_former_synchronizations_counts() -> None:
    federation = Federation(seed=5)
    line = Line(collection_deadline_ms=100, acknowledgement_deadline_ms=100)
    federation.publish(line, 1)
    line.wait(1_000)
    line.see("i0", 1, status=Status.INACTIVE, organisation="o0")
    for number in range(12):
        line.ask(f"request-{number}")
        line.wait(10_000)
    # i0 comes back after it has missed the last ten
    line.report("i0", federation.reports["i0"], 2, "o0", weight=federation.weights["i0"])
    line.wait(10_000)

    update = line.events(ConvergenceUpdated)[-1].number
    attended = dict.fromkeys(federation.reports, (10, 10)) | {"i0": (0, 10)}
    assert_same(
        detected_of(line, RoundKind.UPDATE, update), federation.expected(attended, reference.Configuration())
    )


def test_all_nine_workers_take_signed_reports_to_a_result() -> None:
    line = Line(
        workers=WORKERS.values(),
        batch=4,
        release_threshold=3,
        collection_deadline_ms=2_000,
        acknowledgement_deadline_ms=1_000,
    )
    instances = [Instance(f"i{number}", f"o{number}", partitions=line.partitions) for number in range(4)]

    def send(record: Record) -> None:
        key = (record.key or b"").decode()
        line.append(record.topic, record.partition, key, record.value, dict(record.headers))

    for instance in instances:
        send(instance.registered(at_ms=line.now_ms))
        send(instance.report(30, at_ms=line.now_ms))
    line.wait(1_000)
    covers = [cover for update in line.events(ConvergenceUpdated) for cover in update.covers]
    assert {(cover.instance_id, cover.outcome) for cover in covers} == {
        (instance.name, "included") for instance in instances
    }

    line.ask("please", by="i0")
    line.run()
    for instance in instances[:3]:
        send(instance.report(30, at_ms=line.now_ms))
    line.wait(2_000)
    for instance in instances[:2]:
        line.acknowledge(instance.name, "default/synchronization/1")
    line.wait(1_000)
    (result,) = line.events(SynchronizationCompleted)
    assert (result.instances_synced, result.stragglers, result.acknowledged) == (4, 1, 2)
    assert (result.patterns_aggregated, result.patterns_emerged) == (30, 30)
    assert result.convergence_achieved
    assert len(line.events(AggregatedPattern)) == 30

    send(instances[3].deregistered(at_ms=line.now_ms))
    send(instances[0].report(30, at_ms=line.now_ms))
    line.wait(1_000)
    assert line.events(ConvergenceUpdated)[-1].instance_count == 3


def test_federations_do_not_touch_each_other() -> None:
    line = Line()
    for federation in ("default", "other"):
        line.contribute({"alpha": ("acme", 1, shared_rows())}, federation=federation)
        line.see("alpha", 1, federation=federation)
    line.ask("please", federation="other")
    line.wait(60_000)
    assert [each.federation for each in line.events(RoundAbandoned)] == ["other"]
    updates = line.events(ConvergenceUpdated)
    assert {(each.federation, each.number, each.instance_count) for each in updates} == {
        ("default", 1, 1),
        ("other", 1, 1),
    }


def test_every_record_has_one_outcome_and_every_event_one_identity() -> None:
    federation = Federation(seed=6)
    line = Line()
    federation.publish(line, 1)
    line.ask("please")
    line.wait(60_000)

    assert sum(line.handled.values()) == sum(line.read.values())
    assert max(line.ids.values()) == 1
