"""The page that says how far the system scales, and who does what then: ``docs/scaling.md``."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from benchmarks.scaling import (
    BROKER_MB_S,
    BROKER_TB,
    HEARTBEAT_S,
    MOST_PARTITIONS,
    PHASES,
    PROCESS_GB,
    REPLICAS,
    RETENTION_S,
    UPDATE_MS_AN_INSTANCE,
    Costs,
    Federation,
    limits,
)

#: The figures from which the page is computed.
INPUTS = frozenset({"P4", "P5", "P5b", "P5b restore", "P7", "P8", "costs", "costs heartbeat"})

#: Federations of the table.
INSTANCES = (10_000, 100_000, 1_000_000)

HEAD = """# Scaling

Written by `uv run python -m benchmarks --write` from the costs in [benchmarks.json](benchmarks.json); do not
edit. It is a model on paper: what was measured with {measured:,} instances of {patterns} patterns, in
proportion. It assumes that every instance reports once a synchronization and sends a heartbeat every
{heartbeat} s; a synchronization an hour; {replicas} replicas; a log kept for {retention} days; a core and
{memory:.0f} GB for each process; brokers of {disk:.0f} TB and {rate:.0f} MB/s. Deadlines are the defaults.
What one federation needs, several on the same cluster need together.
"""

CHECK = """Each was computed by itself, as if nothing before it had broken.

How good is the model? For {instances:,} instances it says {model:.1f} s, on a core for each process; measured
were {measured:.1f} s, with all processes, the broker and the instances on the machine of the figures.
"""

TAIL = """## What an operator does

- **Start more processes** of privacy, health and aggregation, up to one for each partition; nothing else.
- **Choose the number of partitions** when the federation is made (at most {most}): it cannot change later
  ([operate.md](operate.md#changing-partitions)).
- **Give the deadlines room**: where a setting is named above, its default is the limit.
- **Make several federations** where one process for a phase is the limit. A federation has its own phases,
  rounds and library; those of one cluster share topics and processes, and spread over the partitions.
"""


def page(figures: Mapping[str, Any]) -> str:
    """Return the page; raises KeyError if one of INPUTS is missing."""
    costs = Costs.of(figures)
    head = HEAD.format(
        measured=figures["costs"]["instances"],
        patterns=costs.patterns,
        heartbeat=HEARTBEAT_S,
        replicas=REPLICAS,
        retention=RETENTION_S // 86_400,
        memory=PROCESS_GB,
        disk=BROKER_TB,
        rate=BROKER_MB_S,
    )
    checked, measured = Federation(costs, figures["costs"]["instances"]), figures["P8"]["seconds"]
    federations = [Federation(costs, instances) for instances in INSTANCES]
    lines = [head, "## What a federation takes", ""]
    lines += [
        "| | " + " | ".join(f"{one:,} instances" for one in INSTANCES) + " |",
        "| --- |" + " ---: |" * len(INSTANCES),
    ]
    for name, values in rows(federations):
        lines.append(f"| {name} | " + " | ".join(values) + " |")
    lines += [
        "",
        "## What breaks first",
        "",
        "| from instances | what happens | what an operator does |",
        "| ---: | --- | --- |",
    ]
    lines += [f"| {_round(one.instances)} | {one.what} | {one.then} |" for one in limits(costs)]
    lines += ["", CHECK.format(instances=checked.instances, model=checked.phases_s, measured=measured)]
    return "\n".join(lines) + "\n" + TAIL.format(most=MOST_PARTITIONS)


def rows(federations: list[Federation]) -> Iterator[tuple[str, list[str]]]:
    """Yield the lines of the table, each a name and a value for every federation."""
    ways: dict[str, Callable[[Federation], str]] = {
        "cells": lambda one: f"{one.instances * one.costs.patterns:,}",
        "partitions": lambda one: str(one.partitions),
        "records of a synchronization": lambda one: _round(one.of_round(one.costs.records)),
        "its bytes": lambda one: _bytes(one.of_round(one.costs.size_bytes)),
        "of them the barrier, in every partition": lambda one: _bytes(
            one.instances * one.costs.size_bytes["RoundBarrier"] * one.partitions
        ),
        "its CPU time, all workers and a broker": lambda one: _seconds(
            one.instances
            * sum(
                one.costs.cpu_s[worker] for worker in ("broker", "health", "privacy", "aggregation", *PHASES)
            )
        ),
        "its duration, with these processes": lambda one: _seconds(one.phases_s),
        "heartbeats a second": lambda one: _round(one.instances / HEARTBEAT_S),
        "an update at most every": lambda one: _seconds(
            max(0.5, one.instances * UPDATE_MS_AN_INSTANCE / 1e3)
        ),
        "privacy processes, to keep the deadline of the collection": lambda one: _processes(one, "privacy"),
        "health processes": lambda one: _processes(one, "health"),
        "aggregation processes": lambda one: _processes(one, "aggregation"),
        "aggregation state, all partitions": lambda one: f"{one.state_gb:,.2f} GB",
        "restore of one partition": lambda one: _seconds(one.restore_s),
        "memory of the largest phase worker": lambda one: f"{one.phase_gb:,.2f} GB",
        "log kept, with replicas": lambda one: f"{one.kept_tb:,.2f} TB",
        "brokers": lambda one: str(one.brokers),
    }
    for name, way in ways.items():
        yield name, [way(one) for one in federations]


def _processes(one: Federation, worker: str) -> str:
    needed = one.processes(worker)
    return str(needed) if needed <= one.partitions else f"{one.partitions} ({needed} would be needed)"


def _round(value: float) -> str:
    return f"{float(f'{value:.2g}'):,.0f}"


def _bytes(value: float) -> str:
    return f"{value / 1e6:,.0f} MB"


def _seconds(value: float) -> str:
    return f"{value:,.1f} s"
