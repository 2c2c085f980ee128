"""How fast the system is, as ratios of things measured beside it in the same run.

    uv run python -m benchmarks [FIGURE …] [--quick] [--format json] [--write]

Every size is an option too. ``--write`` keeps the result in ``docs/benchmarks.json``.
"""

import argparse
import asyncio
import dataclasses
import inspect
import json
import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from benchmarks import (
    aggregation,
    end_to_end,
    frameworks_compared,
    memory,
    metrics,
    processes,
    restore,
    synchronization,
    under_load,
)
from benchmarks.figure import Figure, table
from benchmarks.measurement import machine
from benchmarks.sizes import FULL, QUICK, Sizes

DOCUMENTS = Path(__file__).parents[1] / "docs"

#: What can be measured, in the order in which it is printed.
MEASURES: dict[str, Callable[[Sizes], list[Figure] | Awaitable[list[Figure]]]] = {
    "P1": end_to_end.figures,
    "P2": frameworks_compared.figures,
    "P3": aggregation.figures,
    "P4": synchronization.figures,
    "P5": memory.figures,
    "P6": processes.figures,
    "P7": restore.figures,
    "latency": under_load.figures,
    "metrics": metrics.figures,
}


def options() -> argparse.Namespace:
    """Return what the command line says."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__.splitlines()[0])
    parser.add_argument("figures", nargs="*", help=f"some of {', '.join(MEASURES)}; all without a name")
    parser.add_argument("--quick", action="store_true", help="small sizes: some minutes, and rough")
    parser.add_argument("--format", choices=("table", "json"), default="table")
    parser.add_argument("--write", action="store_true", help="keep the result in docs/")
    for field in dataclasses.fields(Sizes):
        parser.add_argument(f"--{field.name.replace('_', '-')}", type=int)
    chosen = parser.parse_args()
    if unknown := set(chosen.figures) - set(MEASURES):
        parser.error(f"there is no {', '.join(sorted(unknown))}")
    return chosen


def sizes(chosen: argparse.Namespace) -> Sizes:
    """Return the sizes of a run."""
    given = {field.name: getattr(chosen, field.name) for field in dataclasses.fields(Sizes)}
    return dataclasses.replace(
        QUICK if chosen.quick else FULL, **{name: one for name, one in given.items() if one is not None}
    )


async def measured(names: Sequence[str], of: Sizes) -> list[Figure]:
    """Return the figures, telling on the error output what is being measured."""
    found: list[Figure] = []
    for name, figures in MEASURES.items():
        if not names or name in names:
            print(f"measuring {name} …", file=sys.stderr)
            several = figures(of)
            found += await several if inspect.isawaitable(several) else several
    return found


def main() -> None:
    """Measure and print."""
    chosen = options()
    of, computer = sizes(chosen), machine()
    figures = asyncio.run(measured(chosen.figures, of))
    document = {
        **{figure.name: figure.document() for figure in figures},
        "machine": computer,
        "sizes": dataclasses.asdict(of),
    }
    if chosen.write:
        (DOCUMENTS / "benchmarks.json").write_text(json.dumps(document, indent=2) + "\n")
    if chosen.format == "json":
        print(json.dumps(document, indent=2))
    else:
        print("\n".join(table(figures)))
        print("\n" + ", ".join(f"{name} {value}" for name, value in computer.items()))


if __name__ == "__main__":
    main()
