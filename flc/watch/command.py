"""``flc watch``: a federation in the terminal, live, once, or as JSON."""

import asyncio
import sys
from typing import Annotated

import typer

from convergence.observation.observation import encoded
from convergence.observer import Observer, current
from flc.connection import connected, settings_for
from flc.noun import noun
from flc.output import FederationOption, Format, FormatOption, show
from flc.signals import until_signalled
from workers.runtime import logs
from workers.runtime.clock import unix_ms

app = noun()

#: Seconds between two lines of JSON, at least.
_PACE_S = 0.2


@app.command()
def watch(
    once: Annotated[bool, typer.Option("--once", help="Print what is to be seen now, and end.")] = False,
    federation: FederationOption = None,
    form: FormatOption = Format.TABLE,
) -> None:
    """Watch a federation: how far it has converged and why not further, rounds, instances, workers.

    Without a terminal it prints once. With --format json: a line now and one with every change.
    """
    asyncio.run(until_signalled(_watch(once, federation, form)))


async def _watch(once: bool, federation: str | None, form: Format) -> None:
    settings = settings_for(federation)
    # The terminal belongs to the screen, which says itself when the bus is away.
    logs.configure("error")
    async with connected(settings) as bus, current(bus, settings.federation) as observer:
        if form is Format.JSON:
            await _lines(observer, once)
        elif once or not sys.stdout.isatty():
            _print(observer)
        else:
            from flc.watch.screen import Screen  # noqa: PLC0415  (textual, 200 ms, only where it is shown)

            await Screen(observer).run_async()


async def _lines(observer: Observer, once: bool) -> None:
    while True:
        version = observer.version
        typer.echo(encoded(observer.snapshot()))
        if once:
            return
        await asyncio.sleep(_PACE_S)
        await observer.changed(version, timeout_s=3_600)


def _print(observer: Observer) -> None:
    from flc.watch import panels  # noqa: PLC0415  (rich, 40 ms that a JSON reader need not pay)

    seen = observer.observation
    _, listed = seen.instances.page("cost", "", 0, 20)
    show(panels.whole(observer.snapshot(), seen.rounds.synchronizations(8), listed, unix_ms()))
