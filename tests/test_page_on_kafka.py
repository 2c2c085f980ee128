"""The process of the page against a real broker: what it shows, and how fast it ends when it is told to."""

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import expect

from flc.topics import declared, planned
from schemas.topics import load
from tests.page.browser import browsing, opened
from tests.page.client import ask, listening
from workers.catalogue import WORKERS
from workers.runtime import topology
from workers.runtime.kafka import KafkaBus
from workers.settings import Settings

ROOT = Path(__file__).parent.parent
FEDERATION = "page-on-kafka"


async def start(
    broker: str, directory: Path, *arguments: str, **variables: str
) -> asyncio.subprocess.Process:
    """Start a command in a process of its own."""
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        "from flc.main import main; main()",
        *arguments,
        cwd=directory,
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "KAFKA_BOOTSTRAP_SERVERS": broker,
            "FLC_FEDERATION": FEDERATION,
            "FLC_ENROLMENT": "open",
            "FLC_PAGE_ADDRESS": "127.0.0.1:0",
            "FLC_HTTP_PORT": "0",
            **variables,
        },
        stderr=asyncio.subprocess.PIPE,
    )


@pytest.fixture
async def page(broker: str, tmp_path: Path) -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    """Yield a running ``flc page`` and its address."""
    settings = Settings(_env_file=None, bootstrap_servers=broker)
    bus = KafkaBus(settings)
    await topology.apply(bus, await planned(bus, declared()))
    await bus.close()
    process = await start(broker, tmp_path, "page")
    assert process.stderr is not None
    line = ""
    while "http://" not in line:
        line = (await process.stderr.readline()).decode()
        assert line, "the page ended before it served"
    yield process, line.split()[-4]
    if process.returncode is None:
        process.kill()
    await process.wait()


async def test_with_a_stream_open_it_ends_within_five_seconds(
    page: tuple[asyncio.subprocess.Process, str],
) -> None:
    process, url = page
    async with listening(url, "/events?after=-1") as happening:
        await anext(happening)
        told = time.monotonic()
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), 10) == 0
        assert time.monotonic() - told < 5


async def test_the_workers_that_should_be_there_are_seen_to_have_stopped(
    page: tuple[asyncio.subprocess.Process, str],
) -> None:
    _, url = page
    async with listening(url, "/events?after=-1") as happening:
        first = await anext(happening)
        while first.event != "sections":
            first = await anext(happening)
    workers = {one["worker"]: one for one in first.data["workers"]}
    assert list(workers) == list(WORKERS)
    assert len(workers["privacy"]["partitions"]) == load()["flc.reports.v1"].partitions
    assert (await ask(url, "/readyz")).status == 200


async def test_a_killed_worker_is_stale_within_ten_seconds_and_recovers(
    broker: str, tmp_path: Path, page: tuple[asyncio.subprocess.Process, str]
) -> None:
    async def work() -> asyncio.subprocess.Process:
        # A dead member holds its partitions for as long as its session lasts.
        return await start(broker, tmp_path, "worker", "run", "validation", FLC_SESSION_TIMEOUT_MS="6000")

    async with browsing() as browser, opened(browser, page[1]) as tab:
        row = tab.locator("#workers tr", has=tab.get_by_role("rowheader", name="validation", exact=True))
        worker = await work()
        try:
            await expect(row).to_contain_text("✓ ok", timeout=10_000)
            worker.kill()
            await expect(row).to_contain_text("stopped", timeout=10_000)
            await expect(tab.get_by_role("navigation")).to_contain_text("9 of 9 not ok")
            await worker.wait()
            worker = await work()
            await expect(row).to_contain_text("✓ ok", timeout=10_000)
        finally:
            if worker.returncode is None:
                worker.kill()
            await worker.wait()
