"""A real Prometheus scrapes a federation that runs, and evaluates every expression that is shipped."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from flc.broker import free_port
from flc.worker import serving
from schemas.topics import load
from tests.convergence.federation import new_settings
from tests.machine import installed
from tests.observation.live import new_bus, synchronized
from tests.ops.shipped import ALERTS, metrics_of, panel_expressions, rules
from tests.page.client import ask
from workers.catalogue import WORKERS
from workers.runtime.port import Message

#: Of a federation that does well there is nothing to show but between two scrapes, or when something fails.
QUIET = {"flc_round_opened_timestamp_seconds", "flc_task_failures_total"}

LIMIT_S = 60.0


@asynccontextmanager
async def prometheus(directory: Path, scraped: str) -> AsyncIterator[str]:
    """Run a Prometheus with our rules that scrapes one address every second; yields its own."""
    configuration = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(ALERTS)],
        "scrape_configs": [{"job_name": "flc", "static_configs": [{"targets": [scraped]}]}],
    }
    (directory / "prometheus.yml").write_text(json.dumps(configuration))  # JSON is YAML
    address = f"127.0.0.1:{free_port()}"
    process = await asyncio.create_subprocess_exec(
        installed("prometheus"),
        f"--config.file={directory / 'prometheus.yml'}",
        f"--storage.tsdb.path={directory / 'data'}",
        f"--web.listen-address={address}",
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        yield f"http://{address}"
    finally:
        process.terminate()
        await process.wait()


async def api(url: str, path: str) -> Any:
    """Return what the API of Prometheus answers, or None while it does not listen yet."""
    try:
        answer = await ask(url, f"/api/v1/{path}")
    except OSError:
        return None
    assert answer.json["status"] == "success", answer.json
    return answer.json["data"]


async def asked(url: str, expression: str) -> list[Any]:
    """Return the samples of an expression."""
    data = await api(url, f"query?query={quote(expression)}")
    samples: list[Any] = data["result"] if data else []
    return samples


async def until_all_are_shown(url: str, expressions: list[str]) -> None:
    """Wait until every expression has samples; fails with those that have none."""
    missing = expressions
    try:
        async with asyncio.timeout(LIMIT_S):
            while missing := [each for each in missing if not await asked(url, each)]:  # noqa: ASYNC110
                await asyncio.sleep(0.2)
    except TimeoutError:
        raise AssertionError(missing) from None


async def test_everything_that_is_shipped_runs_over_a_live_system(tmp_path: Path) -> None:
    installed("prometheus")
    settings = new_settings(tmp_path, release_threshold=2, http_port=0)
    async with AsyncExitStack() as stack:
        # Given a federation that has learned, and is scraped
        bus = await new_bus()
        _, workers = await stack.enter_async_context(serving(bus, settings, list(WORKERS), load()))
        await synchronized(bus, settings)
        url = await stack.enter_async_context(prometheus(tmp_path, workers.removeprefix("http://")))
        await until_all_are_shown(url, ["flc_rounds_total"])
        # When it learns on, and something that nobody can take is sent
        await synchronized(bus, settings)
        producer = await bus.producer()
        await producer.send([Message("flc.reports.v1", 0, b"default/berlin", b"garbage")])
        # Then every panel shows something
        shown = [each for each in panel_expressions() if not metrics_of(each) & QUIET]
        await until_all_are_shown(url, shown)
        for expression in panel_expressions():
            await asked(url, expression)
        # And every rule is evaluated without an error, and the one that should has fired
        await until_all_are_shown(url, ['ALERTS{alertname="FlcDeadLetters",alertstate="firing"}'])
        groups = (await api(url, "rules"))["groups"]
        evaluated = {
            rule["name"]: (rule["health"], rule.get("lastError")) for each in groups for rule in each["rules"]
        }
        assert evaluated == {rule["alert"]: ("ok", None) for rule in rules()}
        firing = await asked(url, 'ALERTS{alertstate="firing"}')
        assert {each["metric"]["alertname"] for each in firing} == {"FlcDeadLetters"}
