"""``flc instances``: who takes part. Changes are signed with the federation's operator key."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Annotated, Any

import orjson
import typer

from convergence import instances as health
from convergence.contributions import contributed
from convergence.keys import Keys
from convergence.observation.explanation import ratio
from convergence.observation.instances import InstanceView
from convergence.observation.observation import encoded
from convergence.observer import current
from convergence.operator import OVERLAP_S, Operator
from flc.connection import connected, operator, settings_for
from flc.noun import noun
from flc.output import FederationOption, Format, FormatOption, YesOption, confirm, record, rows, say
from schemas.health import InstanceHealth
from schemas.instances import InstanceDeregistered, InstanceRegistered, PublicKey
from schemas.signing import public_key
from workers.runtime import logs
from workers.settings import Settings

app = noun()

Instance = Annotated[str, typer.Argument(metavar="INSTANCE", help="The instance.")]
Key = Annotated[
    str | None, typer.Option("--key", help="Public key, 64 hex digits; default: of its key file.")
]

_COLUMNS = (
    "instance_id",
    "organisation",
    "status",
    "reliability",
    "data_quality",
    "weight",
    "pattern_count",
    "last_outcome",
)

#: Columns of a contribution.
_ROWS = (
    "sequence",
    "signature_id",
    "pattern_type",
    "strength",
    "resonance",
    "epistemic_certainty",
    "frequency",
)

Changed = InstanceRegistered | InstanceDeregistered
Change = Callable[[Operator], Awaitable[Changed]]


@app.command()
def enrol(
    instance: Instance,
    *,
    organisation: Annotated[str, typer.Option("--organisation", help="Who owns it.")],
    key: Key = None,
    name: Annotated[str | None, typer.Option("--name", help="For people; default: its id.")] = None,
    region: Annotated[str, typer.Option("--region", help="For people.")] = "",
    heartbeat_period: Annotated[int, typer.Option("--heartbeat-period", min=1, max=60, help="Seconds.")] = 30,
    federation: FederationOption = None,
    yes: YesOption = False,
) -> None:
    """Enrol an instance, or change what is said of it; the same again changes nothing."""
    settings = settings_for(federation)
    held = key or public_key(Keys(settings.keys_directory).ensure_instance(settings.federation, instance))
    document = InstanceRegistered(
        federation=settings.federation,
        instance_id=instance,
        instance_name=name or instance,
        deployment_region=region,
        organisation=organisation,
        enrolment=1,
        public_keys=(PublicKey(key=held),),
        heartbeat_period_s=heartbeat_period,
    )
    say(f"Plan: enrol {settings.federation}/{instance} of {organisation} with the key {held}")
    _change(settings, lambda signer: signer.enrol(document), yes)


@app.command()
def rotate(
    instance: Instance,
    key: Key = None,
    overlap_s: Annotated[
        float, typer.Option("--overlap", min=0, help="Seconds in which the old keys stay valid.")
    ] = OVERLAP_S,
    federation: FederationOption = None,
    yes: YesOption = False,
) -> None:
    """Bring in a new key; the old ones end after the overlap. No restart anywhere."""
    settings = settings_for(federation)
    keys = Keys(settings.keys_directory)
    new = key or public_key(keys.ensure_next_instance(settings.federation, instance))
    say(
        f"Plan: {settings.federation}/{instance} gets the key {new}, its others end in {overlap_s / 3600:g} h"
    )
    _change(settings, lambda signer: signer.rotate(instance, new, overlap_s), yes)
    if key is None:
        keys.adopt_next_instance(settings.federation, instance)


@app.command()
def revoke(
    instance: Instance,
    key: Annotated[str, typer.Option("--key", help="The public key, 64 hex digits.")],
    federation: FederationOption = None,
    yes: YesOption = False,
) -> None:
    """Revoke a key for ever, from now on."""
    settings = settings_for(federation)
    say(f"Plan: revoke the key {key} of {settings.federation}/{instance}")
    _change(settings, lambda signer: signer.revoke(instance, key), yes)


@app.command()
def remove(instance: Instance, federation: FederationOption = None, yes: YesOption = False) -> None:
    """Remove an instance; its contributions leave with it."""
    settings = settings_for(federation)
    say(f"Plan: remove {settings.federation}/{instance} and what it contributed")
    _change(settings, lambda signer: signer.remove(instance), yes)


def _change(settings: Settings, change: Change, yes: bool) -> None:
    confirm(yes)

    async def run() -> Changed:
        async with connected(settings) as bus, operator(bus, settings) as signer:
            return await change(signer)

    event = asyncio.run(run())
    say(f"{event.federation}/{event.instance_id} is at enrolment {event.enrolment}.")


@app.command("list")
def list_instances(federation: FederationOption = None, form: FormatOption = Format.TABLE) -> None:
    """List the instances as the federation sees them now."""
    settings = settings_for(federation)

    async def run() -> list[InstanceHealth]:
        async with connected(settings) as bus:
            return await health.list_instances(bus, settings.federation)

    rows([_row(found) for found in asyncio.run(run())], _COLUMNS, form)


@app.command()
def show(instance: Instance, federation: FederationOption = None, form: FormatOption = Format.TABLE) -> None:
    """Show an instance: health, what makes its weight, its last report, how it stands in the last round."""
    settings = settings_for(federation)
    logs.configure("error")

    async def run() -> tuple[InstanceHealth, InstanceView | None]:
        async with connected(settings) as bus, current(bus, settings.federation) as observer:
            found = await health.show_instance(bus, settings.federation, instance)
            return found, observer.observation.instances.one(instance)

    found, view = asyncio.run(run())
    seen = {} if view is None else orjson.loads(encoded(view))
    record(seen | {"judged": found.judged, "public_keys": found.public_keys}, form)


@app.command()
def contribution(
    instance: Instance, federation: FederationOption = None, form: FormatOption = Format.TABLE
) -> None:
    """Show what of an instance's last report was accepted, row by row."""
    settings = settings_for(federation)

    async def run() -> list[dict[str, Any]]:
        async with connected(settings) as bus:
            return await contributed(bus, settings.federation, instance)

    rows(asyncio.run(run()), _ROWS, form)


def _row(found: InstanceHealth) -> dict[str, Any]:
    row = found.model_dump(mode="json")
    ratios = {name: ratio(row[name]) for name in ("reliability", "data_quality", "weight")}
    return row | ratios | {"last_outcome": found.judged.outcome if found.judged else None}
