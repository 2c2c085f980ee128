"""``flc broker``: an Apache Kafka on this machine, for development."""

from pathlib import Path
from typing import Annotated

import typer

from flc import broker
from flc.noun import noun

app = noun()

#: Where the broker keeps its data if nothing else is said.
DIRECTORY = Path(".flc/broker")

Directory = Annotated[Path, typer.Option("--directory", help="Where the broker keeps its data.")]
Port = Annotated[int, typer.Option("--port", min=0, max=65_535, help="Port of the clients; 0: a free one.")]


@app.command()
def start(directory: Directory = DIRECTORY, port: Port = 9092) -> None:
    """Start a broker that goes on when this command ends; one that runs already is kept."""
    typer.echo(f"Starting Apache Kafka {broker.VERSION} in {directory} …", err=True)
    address = broker.start_detached(directory, port)
    typer.echo(f"export KAFKA_BOOTSTRAP_SERVERS={address}")
    typer.echo("It runs until `flc broker stop`. Next: flc topics apply --yes", err=True)


@app.command()
def stop(directory: Directory = DIRECTORY) -> None:
    """Stop the broker of the directory; its data stays."""
    stopped = broker.stop_detached(directory)
    typer.echo("Stopped." if stopped else f"No broker runs in {directory}.", err=True)
