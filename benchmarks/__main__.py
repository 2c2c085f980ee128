"""How fast the system is, as ratios of things measured beside it in the same run.

    uv run python -m benchmarks [FIGURE …] [--quick] [--format json] [--write]

Every size is an option too. ``--write`` keeps each figure as soon as it is measured, beside those that this
run does not measure, and writes the pages that show them (see ``document``).
"""

import argparse
import asyncio
import dataclasses
import inspect
import json
import sys
import time
from collections.abc import Awaitable, Callable

from benchmarks import (
    aggregation,
    costs,
    end_to_end,
    frameworks_compared,
    memory,
    metrics,
    processes,
    restore,
    synchronization,
    under_load,
)
from benchmarks.document import Document, document, figures_of, keep, kept, merged
from benchmarks.figure import Figure, table
from benchmarks.measurement import machine
from benchmarks.sizes import FULL, QUICK, Sizes

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
    "costs": costs.figures,
}


def options() -> argparse.Namespace:
    """Return what the command line says."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__.splitlines()[0])
    parser.add_argument("figures", nargs="*", help=f"some of {', '.join(MEASURES)}; all without a name")
    parser.add_argument("--quick", action="store_true", help="small sizes: some minutes, and rough")
    parser.add_argument("--format", choices=("table", "json"), default="table")
    parser.add_argument("--write", action="store_true", help="keep the result in docs/ and the README")
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


async def measured(name: str, of: Sizes) -> Document:
    """Measure, and tell on the error output what is being measured and how long it took."""
    print(f"measuring {name} …", file=sys.stderr)
    computer, started = machine(), time.monotonic()
    several = MEASURES[name](of)
    figures = await several if inspect.isawaitable(several) else several
    print(f"… took {time.monotonic() - started:.0f} s", file=sys.stderr)
    return document(name, figures, of, computer)


def main() -> None:
    """Measure and print."""
    chosen = options()
    order, of, found = list(MEASURES), sizes(chosen), Document()
    for name in order:
        if not chosen.figures or name in chosen.figures:
            new = asyncio.run(measured(name, of))
            found = merged(found, new, order)
            if chosen.write:
                keep(merged(kept(), new, order))
    if chosen.format == "json":
        print(json.dumps(found, indent=2))
    else:
        print("\n".join(table(figures_of(found).items())))
        print("\n" + ", ".join(f"{name} {value}" for name, value in machine().items()))


if __name__ == "__main__":
    main()
