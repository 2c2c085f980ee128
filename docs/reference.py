"""Writes docs/api.md from the docstrings of the package convergence, so that it says what the code says.

uv run python docs/reference.py
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import convergence

FILE = Path(__file__).parent / "api.md"
SOURCE = Path(convergence.__file__).parent

#: What belongs together, in the order of reading.
GROUPS = {
    "The federation": (
        "get_federated_convergence_integration",
        "FederatedConvergenceIntegration",
        "FederatedLearningConvergence",
        "GlobalScoringAggregator",
        "LearningSynchronizationProtocol",
    ),
    "What they take and give": (
        "Pattern",
        "PatternSignature",
        "PatternQuality",
        "InstanceMetadata",
        "InstanceStatus",
        "ConvergenceResult",
        "InstanceScores",
        "GlobalConvergenceScore",
        "AggregatedPattern",
        "SynchronizationResult",
    ),
    "Orchestrators": ("Orchestrators",),
}

#: Everything else that the package exports: the client of the bus, piece by piece.
REST = "The client, piece by piece"

HEAD = """# The Python API

Written by `uv run python docs/reference.py` from the docstrings; do not edit. Everything is imported from the
package itself, `from convergence import …`, and only when it is used. Where results differ from the API's
first description, and why: [differences.md](differences.md).
"""


def page() -> str:
    """Return the page."""
    named = {name for names in GROUPS.values() for name in names}
    groups = GROUPS | {REST: tuple(name for name in convergence.__all__ if name not in named)}
    lines = [HEAD]
    for title, names in groups.items():
        lines += [f"## {title}", ""]
        for name in names:
            lines += entry(name)
    return "\n".join(lines).rstrip() + "\n"


def entry(name: str) -> Iterator[str]:
    """Yield what is said of one exported name."""
    path = SOURCE / f"{convergence.module_of(name)}.py"
    source = path.read_text(encoding="utf-8")
    (node,) = (each for each in ast.parse(source).body if getattr(each, "name", None) == name)
    comments = source.splitlines()
    yield from (f"### {name}", "")
    if not isinstance(node, ast.ClassDef):
        yield from (*code(call(node)), *documentation(node))
        return
    fields = [each for each in node.body if isinstance(each, ast.AnnAssign | ast.Assign)]
    methods = [each for each in node.body if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)]
    initial = [each for each in methods if each.name == "__init__"]
    yield from code(call(initial[0], name)) if initial else ()
    yield from documentation(node)
    rows = [field(each, comments) for each in fields]
    yield from (row for row in rows if not row.startswith("- `_"))
    yield from ("",) if rows else ()
    for method in methods:
        if not method.name.startswith("_"):
            yield from (*code(call(method)), *documentation(method))


def field(node: ast.AnnAssign | ast.Assign, lines: list[str]) -> str:
    """Return a field of a class, with the comment above it."""
    said, above = [], node.lineno - 2
    while lines[above].strip().startswith("#:"):
        said.insert(0, lines[above].strip().removeprefix("#:").strip())
        above -= 1
    comment = f" — {' '.join(said)}" if said else ""
    return f"- `{ast.unparse(node)}`{comment}"


def call(node: ast.FunctionDef | ast.AsyncFunctionDef, name: str = "") -> str:
    """Return how something is called."""
    arguments = ast.unparse(node.args).removeprefix("self").removeprefix("cls").removeprefix(", ")
    gives = "" if name or node.returns is None else f" -> {ast.unparse(node.returns)}"
    if any(ast.unparse(each) == "property" for each in node.decorator_list):
        return f"{node.name}{gives}"
    waits = "await " if isinstance(node, ast.AsyncFunctionDef) else ""
    return f"{waits}{name or node.name}({arguments}){gives}"


def code(text: str) -> tuple[str, ...]:
    """Return a block of code."""
    return ("```python", text, "```", "")


def documentation(node: ast.AST) -> tuple[str, ...]:
    """Return the docstring."""
    return (ast.get_docstring(node) or "", "")  # type: ignore[arg-type]


if __name__ == "__main__":
    FILE.write_text(page(), encoding="utf-8")
