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
    identity: Annotated[bool, typer.Option("--identity", help="The key for pattern identities.")] = False,
    following: Annotated[
        bool,
        typer.Option("--next", help="With --identity: a fresh one, the next key epoch, beside the present."),
    ] = False,
    federation: FederationOption = None,
) -> None:
    """Make a key file (mode 0600) and print the public half; a key that is there is kept."""
    if (instance is not None) + operator + identity != 1:
        raise typer.BadParameter("say one of --instance ID, --operator, --identity")
    if following and not identity:
        raise typer.BadParameter("--next goes with --identity")
    settings = settings_for(federation)
    keys = Keys(settings.keys_directory)
    if identity:
        # Patterns meet only under the same key: a second call must not part this deployment from the others.
        held = (keys.new_federation if following else keys.ensure_federation)(settings.federation)
        say(f"Key epoch {held.epoch} of {settings.federation} is in {settings.keys_directory}.")
        say("Copy the file to every deployment of the federation, and to nobody else.")
    elif operator:
        key = public_key(keys.ensure_operator(settings.federation))
        typer.echo(key)
        say(f'For the workers: FLC_OPERATOR_KEYS=\'{{"{settings.federation}": "{key}"}}\'')
    else:
        typer.echo(public_key(keys.ensure_instance(settings.federation, str(instance))))
        say("Hand this public key to the operator: flc instances enrol " + str(instance) + " --key …")
