"""The process of the page against a real broker: what it shows, and how fast it ends when it is told to."""

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from flc.topics import declared, planned
from schemas.topics import load
from tests.page.client import ask, listening
from workers.catalogue import WORKERS
from workers.runtime import topology
from workers.runtime.kafka import KafkaBus
from workers.settings import Settings

ROOT = Path(__file__).parent.parent
FEDERATION = "page-on-kafka"


@pytest.fixture
async def page(broker: str, tmp_path: Path) -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    """Yield a running ``flc page`` and its address."""
    settings = Settings(_env_file=None, bootstrap_servers=broker)
    bus = KafkaBus(settings)
    await topology.apply(bus, await planned(bus, declared()))
    await bus.close()
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        "from flc.main import main; main()",
        "page",
        cwd=tmp_path,
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "KAFKA_BOOTSTRAP_SERVERS": broker,
            "FLC_FEDERATION": FEDERATION,
            "FLC_PAGE_ADDRESS": "127.0.0.1:0",
        },
        stderr=asyncio.subprocess.PIPE,
    )
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
