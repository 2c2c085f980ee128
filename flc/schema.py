"""``flc schema``: the contract as files."""

from pathlib import Path
from typing import Annotated

import typer

from flc.noun import noun
from schemas import export as exporting

app = noun()

Directory = Annotated[Path, typer.Argument(help="Where the files are; default: the repository's own.")]


@app.command()
def export(directory: Directory = exporting.DIRECTORY) -> None:
    """Write the JSON Schema of each event and the AsyncAPI document."""
    changed = exporting.export(directory)
    for name in changed:
        typer.echo(directory / name)
    typer.echo(f"{len(changed)} written, {len(exporting.documents()) - len(changed)} unchanged.", err=True)


@app.command()
def check(directory: Directory = exporting.DIRECTORY) -> None:
    """Fail if a file is not what the models say (exit code 2)."""
    stale = exporting.stale(directory)
    for name in stale:
        typer.echo(f"stale: {directory / name}")
    if stale:
        typer.echo("The files differ from the models; run: flc schema export", err=True)
        raise typer.Exit(2)
    typer.echo("The schemas are current.", err=True)
