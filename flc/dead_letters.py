"""``flc dead-letters``: what was refused and why, and the way back for what is acceptable by now."""

import asyncio
import re
from collections import Counter
from typing import Annotated, Any

import typer

from convergence.dead_letters import Letter, Query, list_letters
from convergence.redrive import RECORDS_A_SECOND, Plan, attempts, plan
from convergence.redrive import redrive as send_again
from convergence.sequence import now_ms
from flc.connection import connected, settings_for
from flc.noun import noun
from flc.output import Format, FormatOption, YesOption, confirm, moment, record, rows, say
from schemas.reasons import Reason
from workers.runtime.port import Bus

app = noun()

_COLUMNS = ("source", "reason", "count", "federation", "stage", "written", "redrives")
_PLAN = ("source", "reason", "federation", "redrive", "skip", "why")
_UNITS_MS = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}

#: A letter, and why its records are skipped -> how many; None: they are sent.
Planned = tuple[Letter, Counter[str | None]]


def _since(text: str) -> int:
    """Return the moment so long ago, Unix ms."""
    match = re.fullmatch(r"([0-9]+)([smhd])", text)
    if match is None:
        raise typer.BadParameter("write 90s, 15m, 24h or 7d")
    return now_ms() - int(match[1]) * _UNITS_MS[match[2]]


ReasonOption = Annotated[Reason | None, typer.Option("--reason", help="With this reason only.")]
TopicOption = Annotated[str | None, typer.Option("--topic", help="Of records of this topic only.")]
OfFederation = Annotated[
    str | None,
    typer.Option("--federation", help="Of this federation only; not every refused record says its own."),
]
Since = Annotated[
    int | None,
    typer.Option("--since", parser=_since, metavar="AGE", help="Not older than 90s, 15m, 24h or 7d."),
]
Source = Annotated[str, typer.Argument(metavar="SOURCE", help="topic/partition/offset, as in the list.")]


@app.command("list")
def list_(
    reason: ReasonOption = None,
    topic: TopicOption = None,
    federation: OfFederation = None,
    since: Since = None,
    form: FormatOption = Format.TABLE,
) -> None:
    """List dead letters, the oldest first."""
    query = Query(None, reason, topic, federation, since)

    async def run() -> list[Letter]:
        async with connected(settings_for()) as bus:
            return await list_letters(bus)

    rows([_row(letter) for letter in asyncio.run(run()) if query.admits(letter)], _COLUMNS, form)


@app.command()
def show(source: Source, form: FormatOption = Format.TABLE) -> None:
    """Show all that is known of a refused record, and whether it could be redriven; never its content."""
    query = Query(source)

    async def run() -> tuple[list[Letter], list[Planned]]:
        async with connected(settings_for()) as bus:
            letters = await list_letters(bus)
            return list(filter(query.admits, letters)), await _outlook(bus, plan(letters, query))

    letters, outlook = asyncio.run(run())
    if not letters:
        say(f"There is no dead letter of {source}.")
        raise typer.Exit(1)
    redrivable = {letter.source: counts for letter, counts in outlook}
    for letter in letters:
        record(_row(letter) | _words(redrivable.get(letter.source)), form)


@app.command()
def redrive(
    source: Annotated[
        str | None, typer.Argument(metavar="[SOURCE]", help="One record; else by filter.")
    ] = None,
    *,
    reason: ReasonOption = None,
    topic: TopicOption = None,
    federation: OfFederation = None,
    since: Since = None,
    rate: Annotated[float, typer.Option("--rate", min=0.1, help="Records a second.")] = RECORDS_A_SECOND,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be done, and end.")] = False,
    yes: YesOption = False,
    form: FormatOption = Format.TABLE,
) -> None:
    """Send refused records again, byte for byte, at most three times each.

    What is acceptable by now is taken, once; what is not gets a new dead letter.
    """
    settings, query = settings_for(), Query(source, reason, topic, federation, since)

    async def propose() -> tuple[Plan, list[Planned]]:
        async with connected(settings) as bus:
            planned = plan(await list_letters(bus), query)
            return planned, await _outlook(bus, planned)

    async def carry_out() -> int:
        async with connected(settings) as bus:
            return len([each async for each in send_again(bus, planned, rate) if each.message is not None])

    planned, outlook = asyncio.run(propose())
    rows([_row(letter) | _words(counts) for letter, counts in outlook], _PLAN, form)
    ready = sum(counts[None] for _, counts in outlook)
    say(f"Plan: {ready} to redrive, {sum(counts.total() for _, counts in outlook) - ready} to skip.")
    if dry_run or not ready:
        return
    confirm(yes)
    say(f"{asyncio.run(carry_out())} sent again.")


async def _outlook(bus: Bus, planned: Plan) -> list[Planned]:
    found: dict[str, Planned] = {}
    async for attempt in attempts(bus, planned):
        _, counts = found.setdefault(attempt.letter.source, (attempt.letter, Counter()))
        counts[attempt.skipped] += 1
    return list(found.values())


def _row(letter: Letter) -> dict[str, Any]:
    return {"source": letter.source, "written": moment(letter.written_ms)} | letter.said.model_dump(
        mode="json"
    )


def _words(counts: Counter[str | None] | None) -> dict[str, Any]:
    if counts is None:
        return {"redrive": 0, "skip": 1, "why": "it was redriven, and refused again"}
    why = "; ".join(reason for reason in counts if reason is not None)
    return {"redrive": counts[None], "skip": counts.total() - counts[None], "why": why or None}
