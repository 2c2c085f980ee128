"""P5: the resident memory that the aggregation worker's state takes for each cell.

    python -m benchmarks.memory FILE INSTANCES

measures in a process of its own, in which nothing has been freed that the state could take, and prints JSON.
"""

import gc
import json
import os
import pickle
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import BinaryIO

from benchmarks.aggregation import records
from benchmarks.figure import Figure
from benchmarks.load import Population
from benchmarks.measurement import Spread, resident_mb
from benchmarks.sizes import Sizes
from schemas.columns import decode
from schemas.reports import Contribution
from workers.aggregation_state import AggregationState
from workers.runtime.position import Sizes as ChangelogSizes

#: All of them in this process.
BUCKETS = 6


def loaded(file: BinaryIO, sequences: dict[str, int]) -> dict[str, float]:
    """Take contributions into one state a bucket, name them, flush them; return what they came to."""
    gc.collect()
    before_mb = resident_mb(os.getpid())
    states = [(AggregationState(), ChangelogSizes()) for _ in range(BUCKETS)]
    while entry := pickle.load(file):  # noqa: S301  (written a moment ago)
        bucket, value = entry
        event = Contribution.model_validate_json(value)
        states[bucket][0].take(event, decode(event))
    for state, sizes in states:
        state.cut("benchmark", sequences)
        for key, changed in state.changes():
            sizes.put(key, changed)
        state.flushed()
    gc.collect()
    return {
        "resident_mb": resident_mb(os.getpid()) - before_mb,
        "changelog_mb": sum(sizes.total for _, sizes in states) / 1e6,
    }


def measured(population: Population) -> dict[str, float]:
    """Return what the contributions of a population come to in a fresh process."""
    with tempfile.NamedTemporaryFile(prefix="flc-benchmark-") as file:
        for entry in records(population, BUCKETS):
            pickle.dump(entry, file)
        pickle.dump(None, file)
        file.flush()
        command = [sys.executable, "-m", "benchmarks.memory", file.name, str(population.instances)]
        answer = subprocess.run(command, check=True, capture_output=True).stdout  # noqa: S603
    found: dict[str, float] = json.loads(answer)
    return found


def figures(sizes: Sizes) -> list[Figure]:
    """Measure."""
    cells = sizes.large * sizes.patterns
    found = measured(Population(sizes.large, sizes.patterns, sizes.pool))
    by_cell = found["resident_mb"] * 1e6 / cells
    return [
        Figure(
            "P5",
            "aggregation state, resident bytes a cell",
            64,
            "at most",
            Spread(by_cell, by_cell, by_cell),
            {
                "cells": cells,
                "resident_mb": found["resident_mb"],
                "changelog_bytes_a_cell": found["changelog_mb"] * 1e6 / cells,
            },
        )
    ]


def main() -> None:
    """Print what is measured in this process."""
    path, instances = sys.argv[1:]
    sequences = {f"i{number}": 1 for number in range(int(instances))}
    with Path(path).open("rb") as file:
        print(json.dumps(loaded(file, sequences)))


if __name__ == "__main__":
    main()
