"""What an operator loads reads metrics that exist, by labels that they have; every metric is shown."""

import re
import subprocess
from pathlib import Path

import pytest

from tests.machine import installed
from tests.ops.shipped import ALERTS, ROOT, metrics_of, panel_expressions, panels, rules
from workers.catalogue import WORKERS
from workers.runtime.metrics import Metrics

#: What Prometheus itself tells.
BUILT_IN = {"up", "ALERTS"}

#: Labels that Prometheus adds, or that an expression makes.
ADDED_LABELS = {"job", "instance", "alertname", "alertstate", "le"}

TABLE = (ROOT / "docs" / "metrics.md").read_text()


def documented() -> dict[str, set[str]]:
    """Return the labels of each series that is told."""
    found = {}
    for name, kind, labels in re.findall(r"^\| `(flc_\w+)` \| (\w+) \| (.*?) \|", TABLE, re.MULTILINE):
        suffixes = ("_bucket", "_count", "_sum") if kind == "histogram" else ("",)
        for suffix in suffixes:
            found[name + suffix] = set(re.findall(r"\w+", labels))
    return found


EXPRESSIONS = [*(rule["expr"] for rule in rules()), *panel_expressions()]


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_an_expression_reads_what_is_told(expression: str) -> None:
    told = documented()
    names = metrics_of(expression)
    assert names
    assert names - BUILT_IN <= set(told)
    labels = set(re.findall(r"(?:by|on) \(([^)]*)\)", expression))
    used = {label.strip() for group in labels for label in group.split(",")}
    used |= set(re.findall(r"[{,](\w+)=", expression))
    having = set().union(*(told.get(name, set()) for name in names))
    assert used <= having | ADDED_LABELS


def test_every_metric_is_on_the_dashboard() -> None:
    shown = set().union(*(metrics_of(expression) for expression in panel_expressions()))
    families = {re.sub(r"_(bucket|count|sum)$", "", name) for name in shown - BUILT_IN}
    exist = set(re.findall(r"^# TYPE (\w+)", Metrics().exposition().decode(), re.MULTILINE))
    assert families == exist


def test_every_worker_is_missed() -> None:
    (missing,) = (rule["expr"] for rule in rules() if rule["alert"] == "FlcWorkerMissing")
    assert re.findall(r'group="(\w+)"', missing) == list(WORKERS)


def test_every_panel_has_a_place_of_its_own_and_its_expressions_a_name() -> None:
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels()]
    assert len(set(places)) == len(places)
    assert len({panel["id"] for panel in panels()}) == len(places)
    for panel in panels():
        named = [bool(target["legendFormat"]) for target in panel["targets"]]
        assert all(named) or panel["type"] == "table"


def test_the_rules_are_clean() -> None:
    promtool("check", "rules", str(ALERTS))


def test_the_configuration_is_clean() -> None:
    promtool("check", "config", str(ALERTS.parent / "prometheus.yml"))


def test_every_alert_fires_when_it_should_and_only_then() -> None:
    scenarios = Path(__file__).parent / "alerts.test.yml"
    promtool("test", "rules", str(scenarios))
    assert {rule["alert"] for rule in rules()} == set(
        re.findall(r'alertname="(Flc\w+)"', scenarios.read_text())
    )


def test_the_metrics_are_clean() -> None:
    metrics = Metrics()
    for worker in WORKERS.values():
        metrics.start(worker)
    promtool("check", "metrics", given=metrics.exposition())


def promtool(*arguments: str, given: bytes = b"") -> None:
    """Run Prometheus' own check; whatever it says against it fails the test."""
    ended = subprocess.run(  # noqa: S603
        [installed("prometheus", "promtool"), *arguments], input=given, capture_output=True, check=False
    )
    assert (ended.returncode, ended.stderr.decode()) == (0, ""), ended.stdout.decode()
