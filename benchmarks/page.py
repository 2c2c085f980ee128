"""What the page costs with 1,000 instances and a day of rounds, on a real broker and in a real browser.

    uv run python -m benchmarks.page

It starts Apache Kafka, writes a day of updates (one a second), runs ``flc page`` and prints how long that
reads, its memory, the first paint, and how long a record takes from its append to the screen.
"""

import asyncio
import os
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from playwright.async_api import Page

from flc.broker import EmbeddedBroker
from flc.topics import declared, planned
from schemas import cloudevents
from schemas.convergence import ConvergenceUpdated, SynchronizationCompleted
from schemas.dead_letters import DeadLetter
from schemas.event import Event
from schemas.partitioning import key_partition
from tests.observation.federation import Observed
from tests.page.browser import browsing
from tests.page.client import listening
from tests.workers.line import names, shared_rows
from workers.fold import Record
from workers.runtime import topology
from workers.runtime.clock import unix_ms
from workers.runtime.kafka import KafkaBus
from workers.runtime.port import Message, Producer
from workers.settings import Settings

INSTANCES = 1_000
ROUNDS = 86_400
PARTITIONS = 6
#: Updates whose way to the screen is measured.
SAMPLES = 20

_BY_FEDERATION = {"flc.health.v1", "flc.rounds.v1", "flc.convergence.v1"}


def history() -> list[Record]:
    """Return what the workers write in a synchronization and an update of 1,000 instances."""
    line = Observed()
    rows = shared_rows(20)
    for name in names(INSTANCES):
        line.report(name, rows, 1)
    line.run()
    line.ask("now")
    line.wait(60_000)
    return [record for record in line.log if record.topic != DeadLetter.topic]


def message(record: Record) -> Message:
    """Return a record for a broker with six partitions."""
    federation_wide = record.topic in _BY_FEDERATION
    partition = key_partition("default", PARTITIONS) if federation_wide else record.partition
    return Message(record.topic, partition, record.key, record.value, record.headers)


def event_message(event: Event, event_id: str) -> Message:
    """Return an event of the convergence topic."""
    headers = cloudevents.headers(event_id, type(event).__name__, "/benchmark", unix_ms())
    at = key_partition("default", PARTITIONS)
    return Message(event.topic, at, b"default", event.encode(), headers)


async def write(bus: KafkaBus) -> tuple[Producer, SynchronizationCompleted]:
    """Write the history; returns the producer, and a synchronization to be told again."""
    producer = await bus.producer()
    records = history()
    await producer.send([message(one) for one in records if one.topic != "flc.convergence.v1"])
    events = [one for one in records if one.topic == "flc.convergence.v1"]
    kinds = {dict(one.headers)["ce_type"].decode(): one for one in events}
    update = ConvergenceUpdated.model_validate_json(kinds["ConvergenceUpdated"].value or b"")
    whole = SynchronizationCompleted.model_validate_json(kinds["SynchronizationCompleted"].value or b"")
    # An update names the instances that reported since the last one: here one a second.
    few = update.model_copy(
        update={
            "instance_scores": update.instance_scores[:1],
            "covers": update.covers[:1],
            "parts": 1,
            "part": 0,
        }
    )
    begun_ms = unix_ms() - ROUNDS * 1_000
    for first in range(0, ROUNDS, 2_000):
        batch = [
            few.model_copy(
                update={
                    "number": number,
                    "round_id": f"default/update/{number}",
                    "timestamp": begun_ms + number * 1_000,
                    "opened_at": begun_ms + number * 1_000 - 80,
                }
            )
            for number in range(first + 1, min(ROUNDS, first + 2_000) + 1)
        ]
        await producer.send([event_message(one, one.round_id) for one in batch])
    return producer, whole


def memory_mb(pid: int) -> dict[str, float]:
    """Return the memory of a process: now, and at its highest."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    fields = dict(line.split(":", 1) for line in lines)
    return {
        name: int(fields[key].split()[0]) / 1024 for name, key in (("now", "VmRSS"), ("highest", "VmHWM"))
    }


async def on_screen(tab: Page, producer: Producer, whole: SynchronizationCompleted, number: int) -> int:
    """Publish a synchronization; return the milliseconds from its append until the table shows it."""
    shown = asyncio.create_task(
        tab.evaluate(
            """(text) => new Promise((resolve) => {
              const rounds = document.querySelector("#rounds");
              const done = () => requestAnimationFrame(() => resolve(Date.now()));
              const look = () => rounds.textContent.includes(text) && done();
              new MutationObserver(look).observe(rounds, { childList: true, subtree: true });
            })""",
            f"sync {number}",
        )
    )
    await asyncio.sleep(0.2)
    event = whole.model_copy(
        update={"number": number, "round_id": f"default/synchronization/{number}", "timestamp": unix_ms()}
    )
    (sent,) = await producer.send([event_message(event, event.round_id)])
    shown_ms: int = await shown
    return shown_ms - sent.append_ms


@asynccontextmanager
async def serving(address: str) -> AsyncIterator[tuple[int, str]]:
    """Run ``flc page`` until it has read everything; yields its process id and its address."""
    started = time.monotonic()
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        "from flc.main import main; main()",
        "page",
        env={**os.environ, "KAFKA_BOOTSTRAP_SERVERS": address, "FLC_PAGE_ADDRESS": "127.0.0.1:0"},
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        line = await process.stderr.readline() if process.stderr else b""
        url = line.decode().split()[-4]
        async with listening(url, "/events?after=-1") as happening:
            while (await anext(happening)).event == "beat":
                pass
        print(f"reads its history in {time.monotonic() - started:.1f} s")
        yield process.pid, url
    finally:
        process.terminate()
        await process.wait()


async def measure(url: str, pid: int, producer: Producer, whole: SynchronizationCompleted) -> None:
    """Open the page in a browser, and print what it costs."""
    async with browsing() as browser:
        tab = await browser.new_page()
        await tab.goto(url)
        await tab.get_by_text("live", exact=True).wait_for()
        paint = await tab.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime")
        print(f"first paint {paint:.0f} ms")
        took = sorted([await on_screen(tab, producer, whole, 100 + number) for number in range(SAMPLES)])
        print(f"from append to screen: median {took[SAMPLES // 2]} ms, highest {took[-1]} ms")
        memory = memory_mb(pid)
        print(f"memory of flc page {memory['now']:.0f} MB, highest {memory['highest']:.0f} MB")
        print(f"elements on the page {await tab.evaluate('document.querySelectorAll(`*`).length')}")


async def main() -> None:
    """Measure, and print."""
    broker = EmbeddedBroker()
    with tempfile.TemporaryDirectory() as directory:
        address = await broker.start(Path(directory) / "broker")
        bus = KafkaBus(Settings(_env_file=None, bootstrap_servers=address))
        try:
            await topology.apply(bus, await planned(bus, declared()))
            producer, whole = await write(bus)
            print(f"written: {INSTANCES} instances, {ROUNDS} updates")
            async with serving(address) as (pid, url):
                await measure(url, pid, producer, whole)
        finally:
            await bus.close()
            broker.stop()


asyncio.run(main())
