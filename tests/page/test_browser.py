"""The page in a real browser: what changes without a reload, who can use it, and what it costs."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import Browser, expect

from flc.broker import free_port
from flc.page.serving import page
from tests.convergence.federation import new_settings
from tests.observation.live import FlakyBus, synchronized, working
from tests.page.browser import browsing, opened, violations
from workers.settings import Settings


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    async with browsing() as browser:
        yield browser


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return new_settings(
        tmp_path, release_threshold=2, collection_deadline_ms=2_000, page_address="127.0.0.1:0"
    )


@pytest.fixture
async def bus(settings: Settings) -> AsyncIterator[FlakyBus]:
    async with working(settings) as bus:
        yield bus


async def test_a_round_appears_without_a_reload_soon_after_its_commit(
    browser: Browser, bus: FlakyBus, settings: Settings
) -> None:
    async with page(bus, settings) as (observer, url):
        await observer.current.wait()
        async with opened(browser, url) as tab:
            await expect(tab.get_by_text("No round has ended yet.")).to_be_visible()
            shown_ms = asyncio.create_task(
                tab.evaluate(
                    """() => new Promise((resolve) => {
                      const rounds = document.querySelector("#rounds");
                      const look = () => rounds.textContent.includes("sync 1") && resolve(Date.now());
                      new MutationObserver(look).observe(rounds, { childList: true, subtree: true });
                    })"""
                )
            )
            result = await synchronized(bus, settings)
            at_ms = await shown_ms
            sentence = await tab.locator("#sentence").inner_text()
        (seen,) = observer.observation.rounds.synchronizations(1)
        (committed_ms,) = (
            record.append_ms
            for at in bus.log.partitions_of(["flc.convergence.v1"])
            for record in bus.log.records(at)
            if record.offset == seen.offset
        )
    assert result.convergence_achieved == ("Converged" in sentence)
    # The figure is 300 ms (benchmarks/page.py measures it); here the machine is shared with other tests.
    assert at_ms - committed_ms < 2_000


async def test_it_resumes_after_the_server_restarts_without_gap_or_repeat(
    browser: Browser, bus: FlakyBus, settings: Settings
) -> None:
    fixed = settings.model_copy(update={"page_address": f"127.0.0.1:{free_port()}"})
    await synchronized(bus, settings)
    async with page(bus, fixed) as (observer, url):
        await observer.current.wait()
        context = opened(browser, url)
        tab = await context.__aenter__()
        await tab.locator("#updates").check()
        await expect(tab.get_by_role("button", name="sync 1")).to_be_visible()
    try:
        await expect(tab.locator("#contact")).to_contain_text("stale", timeout=15_000)
        await synchronized(bus, settings)
        async with page(bus, fixed) as (observer, _):
            await expect(tab.get_by_role("button", name="sync 2")).to_be_visible()
            await expect(tab.locator("#contact")).to_have_text("live")
            await observer.current.wait()
            latest = observer.observation.rounds.latest(12)
            expected = [
                f"{'sync' if one.kind == 'synchronization' else one.kind} {one.number}" for one in latest
            ]
            shown = await tab.locator("#rounds tbody th").all_inner_texts()
            assert shown == expected[::-1]
    finally:
        await context.__aexit__(None, None, None)


@pytest.mark.parametrize("dark", [False, True])
async def test_axe_finds_nothing_serious(
    browser: Browser, bus: FlakyBus, settings: Settings, *, dark: bool
) -> None:
    await synchronized(bus, settings)
    async with page(bus, settings) as (observer, url):
        await observer.current.wait()
        async with opened(browser, url, dark=dark) as tab:
            await expect(tab.locator("#instances tbody th")).to_have_count(3)
            assert await violations(tab) == []
            await tab.get_by_role("button", name="sync 1").click()
            await expect(tab.get_by_role("dialog")).to_be_visible()
            assert await violations(tab) == []


async def test_it_works_by_keyboard_alone(browser: Browser, bus: FlakyBus, settings: Settings) -> None:
    await synchronized(bus, settings)
    async with page(bus, settings) as (observer, url):
        await observer.current.wait()
        async with opened(browser, url) as tab:
            await tab.keyboard.press("Tab")
            await expect(tab.get_by_role("link", name="Skip to the content")).to_be_focused()
            button = tab.get_by_role("button", name="sync 1")
            await button.focus()
            await tab.keyboard.press("Enter")
            dialog = tab.get_by_role("dialog")
            await expect(dialog).to_contain_text("collection")
            await expect(dialog).to_contain_text("in the cohort")
            await tab.keyboard.press("Escape")
            await expect(dialog).to_be_hidden()
            await expect(button).to_be_focused()


async def test_who_stands_on_a_button_stays_on_it_when_a_round_ends(
    browser: Browser, bus: FlakyBus, settings: Settings
) -> None:
    await synchronized(bus, settings)
    async with page(bus, settings) as (observer, url):
        await observer.current.wait()
        async with opened(browser, url) as tab:
            await tab.get_by_role("button", name="sync 1").focus()
            await synchronized(bus, settings)
            await expect(tab.get_by_role("button", name="sync 2")).to_be_visible()
            await expect(tab.get_by_role("button", name="sync 1")).to_be_focused()


@pytest.mark.parametrize("width", [380, 800, 1_400])
async def test_nothing_stands_out_of_the_page_at_any_width(
    browser: Browser, bus: FlakyBus, settings: Settings, width: int
) -> None:
    await synchronized(bus, settings)
    async with page(bus, settings) as (observer, url):
        await observer.current.wait()
        async with opened(browser, url, width=width) as tab:
            await expect(tab.locator("#instances tbody th")).to_have_count(3)
            assert await tab.evaluate("document.documentElement.scrollWidth") <= width
            await expect(tab.locator("canvas")).to_have_count(4)
            for card in await tab.locator("#criteria li").all():
                chart = await card.locator("canvas").bounding_box()
                around = await card.bounding_box()
                assert chart is not None
                assert around is not None
                assert chart["x"] + chart["width"] <= around["x"] + around["width"]


async def test_the_first_paint_is_soon(browser: Browser, bus: FlakyBus, settings: Settings) -> None:
    await synchronized(bus, settings)
    async with page(bus, settings) as (observer, url):
        await observer.current.wait()
        async with opened(browser, url) as tab:
            paint = await tab.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime")
    assert paint < 1_500  # the figure is 500 ms; see benchmarks/page.py


async def test_while_the_bus_is_away_the_badge_says_so_and_the_last_state_stays(
    browser: Browser, bus: FlakyBus, settings: Settings
) -> None:
    await synchronized(bus, settings)
    async with page(bus, settings) as (observer, url):
        await observer.current.wait()
        async with opened(browser, url) as tab:
            observer.connected = False
            observer._change()
            await expect(tab.locator("#contact")).to_have_text("stale: the bus does not answer")
            await expect(tab.get_by_role("button", name="sync 1")).to_be_visible()
