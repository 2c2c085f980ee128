"""Data on stdout: a table for people, JSON for programs. Everything else goes to stderr."""

import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any

import orjson
import typer

#: A number of so many milliseconds or more is a moment (since 2001), where its name says so.
_MOMENT_MS = 10**12
_MOMENTS = re.compile(r"_ms\b|_at$|timestamp$|_window$")


class Format(StrEnum):
    """How data is printed."""

    TABLE = "table"
    JSON = "json"


FormatOption = Annotated[Format, typer.Option("--format", help="A table for people or JSON for programs.")]
FederationOption = Annotated[
    str | None,
    typer.Option("--federation", envvar="FLC_FEDERATION", help="The federation; default: default."),
]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do it without asking.")]


def dump(value: Any) -> str:
    """Return ``value`` as JSON on one line; sets sorted, models by their fields."""
    return orjson.dumps(value, default=_plain).decode()


def _plain(value: Any) -> Any:
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json")
    if isinstance(value, frozenset | set):
        return sorted(value)
    return str(value)


def rows(values: Sequence[Mapping[str, Any]], columns: Sequence[str], form: Format) -> None:
    """Print one row a value: a table of ``columns``, or one JSON object a line with every field."""
    if form is Format.JSON:
        for value in values:
            typer.echo(dump(value))
        return
    from rich.table import Table  # noqa: PLC0415  (40 ms that a JSON reader need not pay)

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    for value in values:
        table.add_row(*("" if value.get(column) is None else str(value[column]) for column in columns))
    _console().print(table)


def encoded_lines(views: Iterable[Any]) -> None:
    """Print one JSON object a line, of frozen views."""
    from convergence.observation.observation import encoded  # noqa: PLC0415  (what few commands need)

    for view in views:
        typer.echo(encoded(view))


def show(renderable: Any) -> None:
    """Print what rich can render."""
    _console().print(renderable)


def record(value: Any, form: Format) -> None:
    """Print one value: field by field, or as one JSON object."""
    if form is Format.JSON:
        typer.echo(dump(value))
        return
    fields = dict(_flat(orjson.loads(dump(value))))
    width = max(map(len, fields), default=0)
    for name, content in fields.items():
        typer.echo(f"{name:<{width}}  {content}".rstrip())


def _flat(fields: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield every field with its text, one in another by a dotted name; a moment as a date."""
    for name, content in fields.items():
        if isinstance(content, dict) and content:
            yield from _flat(content, f"{prefix}{name}.")
        elif isinstance(content, list) and content and all(isinstance(one, dict) for one in content):
            for number, one in enumerate(content):
                yield from _flat(one, f"{prefix}{name}.{number}.")
        elif isinstance(content, int) and content >= _MOMENT_MS and _MOMENTS.search(prefix + name):
            yield prefix + name, moment(content)
        elif content is None:
            yield prefix + name, "-"
        else:
            yield prefix + name, content if isinstance(content, str) else dump(content)


def counted(number: int, noun: str) -> str:
    """Return a number with its noun, which has an s in the plural."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def moment(unix_ms: int) -> str:
    """Return a moment as a person reads it, UTC."""
    return datetime.fromtimestamp(unix_ms / 1000, UTC).isoformat(timespec="milliseconds")


def say(text: str) -> None:
    """Tell the person at the terminal something that is not data."""
    typer.echo(text, err=True)


def confirm(yes: bool) -> None:
    """Ask before something is written; without a terminal ``--yes`` is needed."""
    if yes:
        return
    if not sys.stdin.isatty():
        say("Nothing was changed: pass --yes to do it.")
        raise typer.Exit(2)
    if not typer.confirm("Do it?", err=True):
        raise typer.Exit(1)


def _console() -> Any:
    from rich.console import Console  # noqa: PLC0415

    width = None if sys.stdout.isatty() else 200
    return Console(file=sys.stdout, width=width, no_color=None if "NO_COLOR" not in os.environ else True)
