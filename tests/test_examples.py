"""Every example runs."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Mapping
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import pytest

from schemas.rounds import RoundKind
from tests.convergence.federation import new_bus, result, write

ROOT = Path(__file__).parent.parent
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))


def module(name: str) -> Any:
    spec = spec_from_file_location(name, ROOT / "examples" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    loaded = module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


def without_broker() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("KAFKA_", "FLC_"))}
    return kept | {"PYTHONPATH": str(ROOT)}


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_is_short(path: Path) -> None:
    assert len(path.read_text().splitlines()) < 60


@pytest.mark.parametrize(
    ("name", "last_line"),
    [("quick_start", "}"), ("orchestrator", "global_emergence: 0.975")],
)
def test_a_script_runs_without_a_broker_and_leaves_nothing(name: str, last_line: str, tmp_path: Path) -> None:
    ended = subprocess.run(  # noqa: S603
        [sys.executable, "-W", "error", "-X", "dev", str(ROOT / "examples" / f"{name}.py")],
        env=without_broker(),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.splitlines()[-1] == last_line
    assert [line for line in ended.stderr.splitlines() if not line.startswith("Executing <")] == []


@pytest.fixture
def _unconfigured(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith(("KAFKA_", "FLC_")):
            monkeypatch.delenv(name)


@pytest.mark.usefixtures("_unconfigured")
async def test_the_quick_start_runs_in_a_notebook(capsys: pytest.CaptureFixture[str]) -> None:
    await module("quick_start").main()  # a loop is running, as in a notebook
    assert "converged: True" in capsys.readouterr().out


@pytest.mark.usefixtures("_unconfigured")
async def test_a_deployment_reports_and_applies(capsys: pytest.CaptureFixture[str]) -> None:
    applied = asyncio.Semaphore(0)

    def use(_library: Mapping[str, Any]) -> None:
        applied.release()

    running = asyncio.create_task(module("deployment").deploy("shop-eu-1", "acme", every_s=0, use=use))
    for _ in range(2):
        await applied.acquire()
    running.cancel()
    await asyncio.wait({running})
    assert capsys.readouterr().out.startswith("included: convergence 0.65\n")


async def test_a_subscriber_waits_for_convergence(capsys: pytest.CaptureFixture[str]) -> None:
    bus = await new_bus()
    waiting = asyncio.create_task(module("subscriber").converged(bus, "default"))
    await asyncio.sleep(0)
    kind = RoundKind.SYNCHRONIZATION
    await write(bus, result(1), result(1, kind=kind), result(2, kind=kind, convergence_achieved=True))
    assert (await waiting).number == 2
    assert "default/synchronization/1: all criteria are met" in capsys.readouterr().out
