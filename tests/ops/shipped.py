"""The expressions of the rules and of the dashboard that are shipped."""

import json
import re
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
ALERTS = ROOT / "ops" / "prometheus" / "alerts.yml"
DASHBOARD = ROOT / "ops" / "grafana" / "dashboard.json"

#: What Grafana puts in for its variables.
_VARIABLES = {"$__rate_interval": "1m", "$federation": ".*"}

#: What Prometheus knows by itself, and what it is not to be asked about.
_WORDS = re.compile(r'"[^"]*"|\b(flc_\w+|up|ALERTS)\b')


def rules() -> list[dict[str, Any]]:
    """Return the alert rules."""
    groups = yaml.safe_load(ALERTS.read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def panels() -> list[dict[str, Any]]:
    """Return the panels of the dashboard that ask something."""
    return [panel for panel in json.loads(DASHBOARD.read_text())["panels"] if panel["type"] != "row"]


def panel_expressions() -> list[str]:
    """Return what the dashboard asks, its variables filled in."""
    found = []
    for panel in panels():
        for target in panel["targets"]:
            expression = target["expr"]
            for variable, value in _VARIABLES.items():
                expression = expression.replace(variable, value)
            found.append(expression)
    return found


def metrics_of(expression: str) -> set[str]:
    """Return the names of the metrics that an expression reads; what stands in quotes is no metric."""
    return {name for name in _WORDS.findall(expression) if name}
