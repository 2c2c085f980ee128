"""The command line: one module a noun, imported when it is named, so that ``flc --help`` is instant."""

import os
import sys
from importlib import import_module
from typing import Annotated, Any

import typer
from typer import core

from flc.noun import noun

#: Where each command lives and what it is for; the module has a Typer called ``app``.
COMMANDS = {
    "demo": ("flc.demo", "Watch a small federation learn, on this machine."),
    "broker": ("flc.broker_commands", "An Apache Kafka on this machine, no Docker."),
    "topics": ("flc.topics", "Check, compare, create and update the topics."),
    "worker": ("flc.worker", "Run and list the workers."),
    "keys": ("flc.keys", "Make key pairs."),
    "instances": ("flc.instances", "The instances of a federation."),
    "publish": ("flc.publish", "Publish patterns, wait for the result."),
    "subscribe": ("flc.subscribe", "Print results as they come."),
    "page": ("flc.page.command", "The live page of a federation."),
    "watch": ("flc.watch.command", "A federation in the terminal, live."),
    "lag": ("flc.lag", "Whether the workers keep up."),
    "rounds": ("flc.rounds", "Request, list and show rounds."),
    "dead-letters": ("flc.dead_letters", "What was refused and why; send it again."),
    "replay": ("flc.replay", "Recompute results from the log."),
    "schema": ("flc.schema", "JSON Schemas and AsyncAPI of the contract."),
}


class _Listed(core.TyperCommand):
    """A line in the help; the real command is imported when it is run."""

    def __init__(self, name: str) -> None:
        super().__init__(name, help=COMMANDS[name][1])


class LazyGroup(core.TyperGroup):
    """The commands of ``COMMANDS``: listed without being imported."""

    def list_commands(self, _context: Any, /) -> list[str]:
        """Return the names in the order of the table."""
        return list(COMMANDS)

    def get_command(self, _context: Any, name: str, /) -> Any:
        """Return what the help shows of a command."""
        return _Listed(name) if name in COMMANDS else None

    def resolve_command(self, context: Any, arguments: list[str], /) -> Any:
        """Return the command that is about to run."""
        name, _listed, rest = super().resolve_command(context, arguments)
        return name, load(str(name)), rest


def load(name: str) -> Any:
    """Import the command called ``name`` and return it."""
    module, summary = COMMANDS[name]
    app: typer.Typer = import_module(module).app
    app.info.help = summary
    return typer.main.get_command(app)


app = noun()


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(import_module("workers.version").code_version())
        raise typer.Exit


@app.callback(cls=LazyGroup)
def _root(
    _: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version, and end.")
    ] = False,
) -> None:
    """Production deployments learn together over Apache Kafka, without anybody shipping raw data."""


def main() -> None:
    """Run the command line; an error that has a known remedy is one sentence, not a traceback."""
    try:
        app()
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except Exception as error:
        explain = import_module("flc.errors").explain
        sentence, code = explain(error)
        if sentence is None:
            raise
        sys.stderr.write(f"flc: {sentence}\n")
        sys.exit(code)
