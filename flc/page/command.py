"""``flc page``: the live page of a federation."""

import asyncio

from flc.connection import connected, settings_for
from flc.noun import noun
from flc.output import FederationOption, say
from flc.page.serving import page as serving
from flc.signals import until_signalled
from workers.runtime import logs

app = noun()


@app.command()
def page(federation: FederationOption = None) -> None:
    """Serve the live page of a federation until Ctrl-C (FLC_PAGE_ADDRESS says where)."""
    asyncio.run(until_signalled(_page(federation)))


async def _page(federation: str | None) -> None:
    settings = settings_for(federation)
    logs.configure(settings.log_level)
    async with connected(settings) as bus, serving(bus, settings) as (_, url):
        say(f"The page of {settings.federation}: {url} (Ctrl-C ends it)")
        await asyncio.Event().wait()
