"""A real browser for the tests: Debian's Chromium, driven by Playwright."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from playwright.async_api import Browser, Page, async_playwright

from tests.machine import installed

AXE = (Path(__file__).parent / "vendor" / "axe.min.js").read_text()

#: Milliseconds that anything may take on the page that is bound to happen.
DEADLINE_MS = 30_000


@asynccontextmanager
async def browsing() -> AsyncIterator[Browser]:
    """Yield a running browser."""
    path = installed("chromium", "chromium", "chromium-browser", "google-chrome")
    async with async_playwright() as playwright:
        # In a container there is neither a sandbox for the browser nor much shared memory.
        browser = await playwright.chromium.launch(
            executable_path=path, args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        try:
            yield browser
        finally:
            await browser.close()


@asynccontextmanager
async def opened(
    browser: Browser, url: str, *, width: int = 1_280, dark: bool = False
) -> AsyncIterator[Page]:
    """Yield a page that has drawn its state; whatever it complains about fails the test."""
    context = await browser.new_context(
        viewport={"width": width, "height": 900}, color_scheme="dark" if dark else "light"
    )
    page = await context.new_page()
    page.set_default_timeout(DEADLINE_MS)
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on(
        "console",
        lambda message: (
            complaints.append(message.text) if "Content Security Policy" in message.text else None
        ),
    )
    await page.goto(url)
    await page.get_by_text("live", exact=True).wait_for()
    try:
        yield page
        assert complaints == []
    finally:
        await context.close()


async def violations(page: Page) -> list[str]:
    """Return what axe finds serious or critical."""
    await page.evaluate(AXE)
    found = await page.evaluate("async () => (await axe.run()).violations")
    return [
        f"{one['id']}: {one['nodes'][0]['html']}" for one in found if one["impact"] in {"serious", "critical"}
    ]
