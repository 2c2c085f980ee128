"""The figures of the API in one process: what a call costs, and how that grows with the federation.

    uv run python benchmarks/in_process.py

Times are medians of wall time; memory is the resident set above that of the import; each figure has its goal.
"""

import asyncio
import json
import resource
import statistics
import subprocess
import sys
import time
from random import Random

PATTERNS = 100
CALLS = 30
SYNCHRONIZATIONS = 5
IMPORTS = 7

#: Figure -> (what it is, goal, unit).
GOALS = {
    "aggregate_10": ("aggregate_learning, 10 instances", 10.0, "ms"),
    "aggregate_100": ("aggregate_learning, 100 instances", None, "ms"),
    "aggregate_1000": ("aggregate_learning, 1,000 instances", None, "ms"),
    "growth": ("1,000 instances / 100 instances (linear: 10)", 15.0, "x"),
    "synchronize_10": ("synchronize_learning, 10 instances", 50.0, "ms"),
    "synchronize_1000": ("synchronize_learning, 1,000 instances", 2_000.0, "ms"),
    "memory": ("1,000 instances, above the import", 60.0, "MB"),
    "import": ("from convergence import get_federated_convergence_integration", 250.0, "ms"),
}


def patterns(seed: int) -> list[dict[str, object]]:
    """Return what an instance reports: the patterns of everybody, in strengths of its own."""
    draw = Random(seed)  # noqa: S311  (made-up data)
    return [
        {
            "pattern_id": f"pattern-{place}",
            "pattern_type": "usage",
            "strength": draw.uniform(0.85, 0.99),
            "resonance": draw.uniform(0.85, 0.99),
            "epistemic_certainty": draw.uniform(0.92, 0.99),
            "frequency": draw.randint(1, 1_000),
            "modules": [f"module-{place}"],
            "event_types": ["timeout"],
        }
        for place in range(PATTERNS)
    ]


async def figures(instances: int) -> dict[str, float]:
    """Return what the calls cost with so many instances present."""
    from convergence import (  # noqa: PLC0415
        FederatedLearningConvergence,
        GlobalScoringAggregator,
        LearningSynchronizationProtocol,
    )

    # Everything that is imported when it is first used counts as the import.
    await LearningSynchronizationProtocol(
        FederatedLearningConvergence(), GlobalScoringAggregator()
    ).synchronize_learning()
    before_mb = resident_mb()
    learning = FederatedLearningConvergence()
    protocol = LearningSynchronizationProtocol(learning, GlobalScoringAggregator())
    names = [f"instance-{number}" for number in range(instances)]
    for seed, name in enumerate(names):
        learning.register_instance(name, name, "eu")
        learning.take(name, patterns(seed))
    updates, synchronizations = [], []
    for call in range(CALLS):
        given = patterns(instances + call)
        started = time.perf_counter()
        await learning.aggregate_learning(names[call % instances], given)
        updates.append(time.perf_counter() - started)
    for _ in range(SYNCHRONIZATIONS):
        started = time.perf_counter()
        await protocol.synchronize_learning()
        synchronizations.append(time.perf_counter() - started)
    return {
        "aggregate": statistics.median(updates) * 1_000,
        "synchronize": statistics.median(synchronizations) * 1_000,
        "memory": resident_mb() - before_mb,
    }


def resident_mb() -> float:
    """Return the largest resident set so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1_024


def import_ms() -> float:
    """Return how long a fresh process takes for the import, its own start excepted."""
    code = (
        "import sys, time; before = set(sys.modules); t = time.perf_counter();"
        "from convergence import get_federated_convergence_integration;"
        "print(time.perf_counter() - t); assert 'aiokafka' not in sys.modules"
    )
    runs = [subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout  # noqa: S603
            for _ in range(IMPORTS)]  # fmt: skip
    return statistics.median(map(float, runs)) * 1_000


def measured() -> dict[str, float]:
    """Return all figures; each size of a federation in a process of its own."""
    found = {}
    for instances in (10, 100, 1_000):
        ended = subprocess.run(  # noqa: S603
            [sys.executable, __file__, str(instances)], capture_output=True, text=True, check=True
        )
        found[instances] = json.loads(ended.stdout)
    return {
        **{f"aggregate_{instances}": each["aggregate"] for instances, each in found.items()},
        "growth": found[1_000]["aggregate"] / found[100]["aggregate"],
        "synchronize_10": found[10]["synchronize"],
        "synchronize_1000": found[1_000]["synchronize"],
        "memory": found[1_000]["memory"],
        "import": import_ms(),
    }


def main() -> None:
    """Print a line for each figure; the exit code is 1 if a goal is missed."""
    missed = 0
    for name, value in measured().items():
        what, goal, unit = GOALS[name]
        wanted = "" if goal is None else f"   goal {goal:g} {unit}{'' if value <= goal else '   MISSED'}"
        missed += goal is not None and value > goal
        print(f"{what:<64}{value:9.1f} {unit:<3}{wanted}")
    sys.exit(bool(missed))


if __name__ == "__main__":
    if sizes := sys.argv[1:]:
        print(json.dumps(asyncio.run(figures(int(sizes[0])))))
    else:
        main()
