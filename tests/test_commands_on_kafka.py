"""The commands against a real broker, as a stranger would type them, each in a process of its own."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from convergence.deployment import Deployment
from convergence.errors import NotCovered
from convergence.keys import Keys
from convergence.operator import Operator
from convergence.patterns import Pattern
from flc.connection import connected
from schemas.signing import public_key
from workers.catalogue import WORKERS
from workers.settings import Settings

ROOT = Path(__file__).parent.parent
COMMAND = (sys.executable, "-c", "from flc.main import main; main()")
FEDERATION = "commands-on-kafka"

ROWS = [
    {
        "pattern_id": f"p{place}",
        "pattern_type": "usage",
        "strength": 0.9,
        "resonance": 0.8,
        "frequency": 3,
        "modules": [f"module-{place}"],
        "event_types": ["timeout"],
        "epistemic_certainty": 0.95,
    }
    for place in range(4)
]

ORCHESTRATOR = """
class Mine:
    def on_convergence(self, event):
        with open("heard.txt", "a") as file:
            print(type(event).__name__, file=file)
"""


class Terminal:
    """A directory and the environment of somebody who types commands there."""

    def __init__(self, broker: str, directory: Path, **environment: str) -> None:
        self.directory = directory
        self._environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
            "KAFKA_BOOTSTRAP_SERVERS": broker,
            "FLC_FEDERATION": FEDERATION,
            "FLC_ENROLMENT": "open",
            "FLC_HTTP_PORT": "0",
            "FLC_COLLECTION_DEADLINE_MS": "500",
            **environment,
        }

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start a command."""
        return subprocess.Popen(  # noqa: S603
            [*COMMAND, *arguments],
            cwd=self.directory,
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: str) -> str:
        """Run a command to its end and return what it prints; it must end well."""
        process = self.start(*arguments)
        out, err = process.communicate(timeout=90)
        assert process.returncode == 0, err
        return out


@pytest.fixture
def terminal(broker: str, tmp_path: Path) -> Terminal:
    return Terminal(broker, tmp_path)


@contextmanager
def all_workers(terminal: Terminal) -> Iterator[subprocess.Popen[str]]:
    """Run all workers, with the terminal's environment."""
    terminal.run("topics", "apply", "--yes")
    process = terminal.start("worker", "run", "--all")
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.fixture
def workers(terminal: Terminal) -> Iterator[subprocess.Popen[str]]:
    with all_workers(terminal) as process:
        yield process


def test_applying_the_topics_twice_changes_nothing(terminal: Terminal) -> None:
    terminal.run("topics", "apply", "--yes")
    assert terminal.run("topics", "apply", "--yes") == "Plan: 0 to create, 0 to update, 22 unchanged.\n"
    assert terminal.run("topics", "diff") == "Plan: 0 to create, 0 to update, 22 unchanged.\n"


def test_what_is_published_is_covered_synchronized_listed_and_shown(
    terminal: Terminal, workers: subprocess.Popen[str]
) -> None:
    (terminal.directory / "patterns.jsonl").write_text("\n".join(map(json.dumps, ROWS)))
    for name in ("one", "two"):
        arguments = ("patterns.jsonl", "--instance", name, "--organisation", name, "--format", "json")
        update = json.loads(terminal.run("publish", *arguments))
        assert {"instance_id": name, "outcome": "included"}.items() <= update["covers"][0].items()

    completed = json.loads(terminal.run("rounds", "request", "--wait", "--format", "json"))
    assert completed["type"] == "SynchronizationCompleted"
    assert completed["instances_synced"] == 2
    assert completed["pattern_alignment"] == 1.0
    assert {score["instance_id"] for score in completed["instance_scores"]} == {"one", "two"}

    listed = terminal.run("rounds", "list", "--kind", "synchronization", "--format", "json")
    assert json.loads(listed.splitlines()[-1])["round_id"] == completed["round_id"]
    shown = json.loads(terminal.run("rounds", "show", completed["round_id"], "--format", "json"))
    assert shown["global_scores"]["pattern_alignment"] == 1_000_000
    instances = terminal.run("instances", "list", "--format", "json").splitlines()
    assert [json.loads(line)["instance_id"] for line in instances] == ["one", "two"]

    explained = json.loads(
        terminal.run("rounds", "show", "synchronization/1", "--explain", "--format", "json")
    )
    assert explained["round_id"] == completed["round_id"]
    assert {one["name"]: one["met"] for one in explained["criteria"]}["alignment"] is True
    assert "every criterion is met" in terminal.run("rounds", "show", "synchronization/1", "--explain")
    shown = json.loads(terminal.run("instances", "show", "one", "--format", "json"))
    assert shown["standing"]["alignment"] == 1.0
    assert shown["report"]["accepted"] == 4
    held = terminal.run("instances", "contribution", "one", "--format", "json").splitlines()
    assert {json.loads(line)["strength"] for line in held} == {0.9}
    assert len(held) == len(ROWS)
    lags = [json.loads(line) for line in terminal.run("lag", "--format", "json").splitlines()]
    assert {one["worker"]: one["state"] for one in lags} == dict.fromkeys(WORKERS, "ok")
    assert {one["members"] for one in lags} == {1}
    watched = json.loads(terminal.run("watch", "--once", "--format", "json"))
    assert watched["instances"]["total"] == 2
    assert watched["last"]["outcome"] == "converged"
    assert "alignment" in terminal.run("watch", "--once")
    assert set(json.loads(terminal.run("rounds", "request", "--format", "json"))) == {"request_id"}

    (terminal.directory / "mine.py").write_text(ORCHESTRATOR)
    terminal.run("subscribe", "--from", "beginning", "--count", "5", "--orchestrator", "mine:Mine")
    heard = (terminal.directory / "heard.txt").read_text().splitlines()
    assert "ConvergenceUpdated" in heard

    workers.send_signal(signal.SIGTERM)
    assert workers.wait(timeout=30) == 0


async def test_a_revoked_key_is_refused_at_once_and_nothing_is_restarted(broker: str, tmp_path: Path) -> None:
    keys = Keys(tmp_path / ".flc" / "keys")
    federation = "revoked-on-kafka"
    keys.new_federation(federation)
    operators = {federation: public_key(keys.ensure_operator(federation))}
    settings = Settings(
        bootstrap_servers=broker,
        federation=federation,
        operator_keys=operators,
        keys_directory=tmp_path / ".flc" / "keys",
    )
    terminal = Terminal(
        broker,
        tmp_path,
        FLC_FEDERATION=federation,
        FLC_ENROLMENT="operator",
        FLC_OPERATOR_KEYS=json.dumps(operators),
    )
    patterns = [Pattern("p", "usage", 0.9, 0.8, 0.95, 3, ("module",))]
    with all_workers(terminal):
        async with connected(settings) as bus, Operator(bus, settings) as operator:
            deployment = Deployment(bus, settings, "one", "acme")
            key = (await operator.enrol(deployment.document)).public_keys[0].key
            async with deployment:
                assert (await deployment.publish(patterns, 60)).included
                # When the operator revokes its key
                await asyncio.to_thread(terminal.run, "instances", "revoke", "one", "--key", key, "--yes")
                # Then the same deployment gets no answer from the same workers …
                with pytest.raises(NotCovered):
                    await deployment.publish(patterns, 2)
        # … for its report is refused
        letters: list[dict[str, str]] = []
        async with asyncio.timeout(60):
            while "flc.reports.v1" not in {letter["source_topic"] for letter in letters}:
                arguments = ("dead-letters", "list", "--federation", federation, "--format", "json")
                listed = await asyncio.to_thread(terminal.run, *arguments)
                letters = [json.loads(line) for line in listed.splitlines()]
    assert {letter["reason"] for letter in letters} == {"revoked_key"}
