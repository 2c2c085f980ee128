"""``flc publish``: a file of patterns becomes an instance's report; its result is waited for and printed."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from convergence.covers import Update
from convergence.deployment import Deployment
from convergence.keys import Keys
from convergence.operator import Operator
from convergence.patterns import LineError, Pattern, read_lines
from convergence.registrations import registration_document
from flc.connection import connected, settings_for
from flc.noun import noun
from flc.output import FederationOption, Format, FormatOption, counted, record, say
from flc.subscribe import as_json
from workers.runtime.port import Bus
from workers.settings import Settings

app = noun()


@app.command()
def publish(
    file: Annotated[
        Path, typer.Argument(exists=True, dir_okay=False, help="One pattern a line, as a JSON object.")
    ],
    *,
    instance: Annotated[str, typer.Option("--instance", help="The instance that holds the patterns.")],
    organisation: Annotated[str, typer.Option("--organisation", help="Who owns it.")],
    federation: FederationOption = None,
    skip_invalid: Annotated[
        bool, typer.Option("--skip-invalid", help="Publish the good lines of a file with broken ones.")
    ] = False,
    form: FormatOption = Format.TABLE,
) -> None:
    """Publish all patterns of FILE as what the instance holds now, and print the result that covers them."""
    patterns, broken = _read(file)
    for error in broken:
        say(f"{file}:{error.line}: {error.reason}")
    if broken and not skip_invalid:
        say(f"{len(broken)} of {len(broken) + len(patterns)} lines are broken; nothing was published.")
        say("Mend them, or pass --skip-invalid to publish the others.")
        raise typer.Exit(1)
    asyncio.run(_publish(patterns, instance, organisation, federation, form))


def _read(file: Path) -> tuple[list[Pattern], list[LineError]]:
    with file.open("rb") as lines:
        found = list(read_lines(lines))
    good = [line for line in found if isinstance(line, Pattern)]
    return good, [line for line in found if isinstance(line, LineError)]


async def _publish(
    patterns: list[Pattern], instance: str, organisation: str, federation: str | None, form: Format
) -> None:
    settings = settings_for(federation)
    _ensure_identity(settings)
    async with connected(settings) as bus:
        settings = await _enrolled(bus, settings, instance, organisation)
        async with Deployment(bus, settings, instance, organisation, answers=False) as deployment:
            say(f"Publishing {counted(len(patterns), 'pattern')} of {settings.federation}/{instance} …")
            update = await deployment.publish(patterns)
    _print(update, form)
    if not update.included:
        raise typer.Exit(1)


def _ensure_identity(settings: Settings) -> None:
    """Make the federation's identity key if this machine has none, and say what that means."""
    keys = Keys(settings.keys_directory)
    if not keys.has_federation(settings.federation):
        keys.new_federation(settings.federation)
        say(f"Made the first identity key of {settings.federation} in {settings.keys_directory}:")
        say("every deployment of the federation needs a copy of it, or their patterns never meet.")


async def _enrolled(bus: Bus, settings: Settings, instance: str, organisation: str) -> Settings:
    """Enrol the instance if the operator's key is on this machine; return settings that trust that key."""
    operator_key = settings.keys_directory / f"{settings.federation}.operator-key"
    if settings.enrolment == "open" or not operator_key.exists():
        return settings
    async with Operator(bus, settings) as signer:
        await signer.enrol(registration_document(settings, instance, organisation))
        trusted = {**settings.operator_keys, settings.federation: signer.public_key}
    return settings.model_copy(update={"operator_keys": trusted})


def _print(update: Update, form: Format) -> None:
    if form is Format.JSON:
        record(as_json(update.result), form)
        return
    result = update.result
    shown = {
        "round_id": result.round_id,
        "outcome": update.cover.outcome,
        "global_convergence": result.global_convergence,
        "pattern_alignment": result.pattern_alignment,
        "global_emergence": result.global_emergence,
        "convergence_achieved": result.convergence_achieved,
        "instance_count": result.instance_count,
        "patterns_aggregated": result.patterns_aggregated,
    }
    if update.scores is not None:
        shown |= update.scores.model_dump()
    record(shown, form)
