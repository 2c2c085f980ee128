"""Takes the pictures of the README: a small federation learns in memory, and a browser looks at its page.

uv run python docs/picture.py
"""

import asyncio
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from flc.demo import demo_settings, play
from flc.page.serving import page
from tests.observation.live import new_bus
from tests.page.browser import browsing
from workers.catalogue import WORKERS
from workers.runtime import logs
from workers.runtime.supervisor import Process

DIRECTORY = Path(__file__).parent

#: Rounds after which the picture is taken: a while before everybody agrees.
ROUNDS = 5


async def main() -> None:
    """Let the demo's federation learn for a few rounds, and take a picture in each colour scheme."""
    with tempfile.TemporaryDirectory() as directory, (Path(directory) / "log").open("w") as log:
        logs.configure("error", log)
        settings = demo_settings("in memory", Path(directory))
        settings = settings.model_copy(update={"page_address": "127.0.0.1:0"})
        bus = await new_bus()
        async with (
            Process(bus, tuple(WORKERS.values()), settings),
            page(bus, settings) as (_, url),
            browsing() as browser,
        ):
            await play(bus, settings, seed=1, rounds=ROUNDS, interval_s=2.0)
            for scheme in ("light", "dark"):
                context = await browser.new_context(
                    viewport={"width": 1_400, "height": 1_085}, color_scheme=scheme, device_scale_factor=1.5
                )
                tab = await context.new_page()
                await tab.goto(url)
                await tab.get_by_text("live", exact=True).wait_for()
                await tab.locator("#instances tbody th").nth(7).wait_for()
                await tab.screenshot(path=DIRECTORY / f"page-{scheme}.png")
                await context.close()


asyncio.run(main())
