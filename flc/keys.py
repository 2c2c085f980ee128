"""``flc keys``: key files under FLC_KEYS_DIRECTORY. Private keys are never printed."""

from typing import Annotated

import typer

from convergence.keys import Keys
from flc.connection import settings_for
from flc.noun import noun
from flc.output import FederationOption, say
from schemas.signing import public_key

app = noun()


@app.callback()
def _keys() -> None:
    """Make key pairs."""


@app.command()
def new(
    instance: Annotated[
        str | None, typer.Option("--instance", help="A signing key of this instance.")
    ] = None,
    operator: Annotated[bool, typer.Option("--operator", help="The operator's signing key.")] = False,
    identity: Annotated[
        bool, typer.Option("--identity", help="A fresh key for pattern identities: the next key epoch.")
    ] = False,
    federation: FederationOption = None,
) -> None:
    """Make a key file (mode 0600) and print the public half; an existing signing key is kept."""
    if (instance is not None) + operator + identity != 1:
        raise typer.BadParameter("say one of --instance ID, --operator, --identity")
    settings = settings_for(federation)
    keys = Keys(settings.keys_directory)
    if identity:
        made = keys.new_federation(settings.federation)
        say(f"Key epoch {made.epoch} of {settings.federation} is in {settings.keys_directory}.")
        say("Copy the file to every deployment of the federation, and to nobody else.")
    elif operator:
        key = public_key(keys.ensure_operator(settings.federation))
        typer.echo(key)
        say(f'For the workers: FLC_OPERATOR_KEYS=\'{{"{settings.federation}": "{key}"}}\'')
    else:
        typer.echo(public_key(keys.ensure_instance(settings.federation, str(instance))))
        say("Hand this public key to the operator: flc instances enrol " + str(instance) + " --key …")
