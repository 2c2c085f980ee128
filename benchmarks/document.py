"""What is kept of the figures: ``docs/benchmarks.json``, and the pages that say what is in it.

    uv run python -m benchmarks.document

writes the pages anew from the figures that were measured last.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks import scaling_page
from benchmarks.figure import Figure, table
from benchmarks.plot import picture
from benchmarks.sizes import Sizes

ROOT = Path(__file__).parents[1]
FILE = ROOT / "docs" / "benchmarks.json"

#: The part of the README that is written.
BEGIN, END = "<!-- figures: uv run python -m benchmarks --write -->\n", "<!-- end of figures -->"

#: What the document has beside the figures: where and how large each measure was taken, by its name.
RUNS = "runs"

Document = dict[str, Any]


def document(measure: str, figures: Sequence[Figure], sizes: Sizes, machine: Mapping[str, str]) -> Document:
    """Return the document of a measure's figures."""
    names = [figure.name for figure in figures]
    run = {"figures": names, "sizes": asdict(sizes), "machine": dict(machine)}
    return {**{figure.name: figure.document() for figure in figures}, RUNS: {measure: run}}


def merged(old: Document, new: Document, order: Sequence[str]) -> Document:
    """Return both, the measures in this order; what was measured again replaces what it was before."""
    runs = {**old.get(RUNS, {}), **new.get(RUNS, {})}
    runs = {measure: runs[measure] for measure in order if measure in runs}
    figures = {**old, **new}
    return {**{name: figures[name] for run in runs.values() for name in run["figures"]}, RUNS: runs}


def figures_of(whole: Document) -> dict[str, Any]:
    """Return the figures by name."""
    return {name: one for name, one in whole.items() if name != RUNS}


def kept() -> Document:
    """Return what is kept."""
    found: Document = json.loads(FILE.read_text(encoding="utf-8")) if FILE.exists() else {}
    return found


def keep(whole: Document) -> None:
    """Keep a document, and write the pages."""
    FILE.write_text(json.dumps(whole, indent=2) + "\n", encoding="utf-8")
    for path, text in pages(whole).items():
        path.write_text(text, encoding="utf-8")


def pages(whole: Document) -> dict[Path, str]:
    """Return every page that says what is in a document."""
    figures = figures_of(whole)
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    before, _, rest = readme.partition(BEGIN)
    _, _, after = rest.partition(END)
    lines = [*table(figures.items()), "", measured(whole), ""]
    found = {
        ROOT / "docs" / "benchmarks.svg": picture(figures),
        ROOT / "README.md": before + BEGIN + "\n".join(lines) + END + after,
    }
    if figures.keys() >= scaling_page.INPUTS:
        found[ROOT / "docs" / "scaling.md"] = scaling_page.page(figures)
    return found


def measured(whole: Document) -> str:
    """Return a sentence that says how large and on what the figures were measured."""
    runs = whole[RUNS]
    sizes, machine = next(iter(runs.values()))["sizes"], next(iter(runs.values()))["machine"]
    others = [
        measure
        for measure, run in runs.items()
        if (run["sizes"], run["machine"]["cpu"]) != (sizes, machine["cpu"])
    ]
    return (
        f"Measured with {sizes['reports']:,} reports of {sizes['patterns']} signatures and up to "
        f"{sizes['large']:,} instances on {machine['cores']} cores of {machine['cpu']} "
        f"(Apache Kafka {machine['kafka']}, Python {machine['python']}, aiokafka {machine['aiokafka']}, "
        f"numpy {machine['numpy']})."
        + (f" In other sizes or elsewhere: {', '.join(others)}." if others else "")
    )


if __name__ == "__main__":
    keep(kept())
