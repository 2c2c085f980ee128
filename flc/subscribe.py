"""``flc subscribe``: the convergence topic as it comes."""

import asyncio
import sys
from enum import StrEnum
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer

from convergence.orchestrators import Orchestrators
from convergence.subscription import subscribe as subscription
from flc.connection import connected, settings_for
from flc.noun import noun
from flc.output import FederationOption, Format, FormatOption, counted, dump, say
from flc.signals import until_signalled
from schemas.convergence import RoundAbandoned, RoundEvent, RoundResult

app = noun()


class Start(StrEnum):
    """Where reading starts."""

    END = "end"
    BEGINNING = "beginning"


@app.command()
def subscribe(
    start: Annotated[
        Start, typer.Option("--from", help="What comes from now on, or all there is.")
    ] = Start.END,
    count: Annotated[int | None, typer.Option("--count", min=1, help="Stop after so many events.")] = None,
    federation: FederationOption = None,
    form: FormatOption = Format.TABLE,
    orchestrator: Annotated[
        list[str] | None,
        typer.Option("--orchestrator", metavar="MODULE:NAME", help="Feed this one, too; may be repeated."),
    ] = None,
) -> None:
    """Print the results of a federation until Ctrl-C: a line an event, or one JSON object each."""
    orchestrators = Orchestrators([_loaded(one) for one in orchestrator or ()])
    asyncio.run(until_signalled(_subscribe(start, count, federation, form, orchestrators)))


async def _subscribe(
    start: Start, count: int | None, federation: str | None, form: Format, orchestrators: Orchestrators
) -> None:
    settings = settings_for(federation)
    async with (
        connected(settings) as bus,
        subscription(bus, settings.federation, "end" if start is Start.END else "beginning") as events,
        orchestrators,
    ):
        say(f"Listening to {settings.federation} at {settings.bootstrap_servers} …")
        seen = 0
        async for event in events:
            orchestrators.feed(event)
            typer.echo(dump(as_json(event)) if form is Format.JSON else line(event))
            seen += 1
            if seen == count:
                return


def _loaded(spec: str) -> Any:
    """Return the orchestrator ``module:name``, from the working directory too; of a class a new one."""
    module, _, name = spec.partition(":")
    sys.path.insert(0, str(Path.cwd()))
    try:
        found = getattr(import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise typer.BadParameter(f"there is no {spec} (MODULE:NAME): {error}") from error
    return found() if isinstance(found, type) else found


def as_json(event: RoundEvent) -> dict[str, Any]:
    """Return the event's own fields, with its type in front."""
    return {"type": type(event).__name__, **event.model_dump(mode="json")}


def line(event: RoundEvent) -> str:
    """Return the event on one line, for a person."""
    head = f"{event.round_id}  {type(event).__name__}"
    match event:
        case RoundResult():
            verdict = "yes" if event.convergence_achieved else "no"
            return (
                f"{head}  converged {verdict}  convergence {event.global_convergence:.4f}  "
                f"alignment {event.pattern_alignment:.4f}  emergence {event.global_emergence:.4f}  "
                f"{counted(event.instance_count, 'instance')}  "
                f"{counted(event.patterns_aggregated, 'shared pattern')}"
            )
        case RoundAbandoned():
            return f"{head}  {event.reason} in {event.phase}: {event.instance_count} of {event.min_instances}"
        case _:
            return head
