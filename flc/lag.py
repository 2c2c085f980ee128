"""``flc lag``: whether the workers keep up."""

import asyncio
from collections.abc import Sequence
from typing import Annotated

import typer

from convergence.observation.lag import LagState
from convergence.observation.observation import Observation
from convergence.observation.workers import WorkerView
from convergence.observer import LOOK_S, look, partitions_read
from flc.connection import connected, settings_for
from flc.noun import noun
from flc.output import Format, FormatOption, encoded_lines, say, show
from workers.runtime.clock import unix_ms

app = noun()


@app.command()
def lag(
    seconds: Annotated[
        float, typer.Option("--for", min=0, help="Seconds to look; a tendency takes three commits, 12 s.")
    ] = 6.0,
    form: FormatOption = Format.TABLE,
) -> None:
    """Show of every worker whether it keeps up: ok, warning, rewound, stalled or stopped.

    Exit code 1 if one of them is not ok.
    """
    views = asyncio.run(_look(seconds))
    if form is Format.JSON:
        encoded_lines(views)
    else:
        from flc.watch import panels  # noqa: PLC0415  (rich, 40 ms that a JSON reader need not pay)

        show(panels.workers(views, unix_ms()))
    if any(view.state is not LagState.OK for view in views):
        raise typer.Exit(1)


async def _look(seconds: float) -> Sequence[WorkerView]:
    settings = settings_for()
    observation = Observation(settings.federation)
    async with connected(settings) as bus:
        reading = await partitions_read(bus)
        await look(bus, observation, reading)
        if seconds:
            say(f"Looking for {seconds:g} s; every worker commits each 5 s …")
        left_s = seconds
        while left_s > 0:
            await asyncio.sleep(min(LOOK_S, left_s))
            left_s -= LOOK_S
            await look(bus, observation, reading)
    return observation.workers.views(unix_ms())
