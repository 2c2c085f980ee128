"""The console blocks of the README, typed as they stand, one line after the other, against a real broker."""

import json
import re
import shlex
import signal
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.test_commands_on_kafka import Terminal
from tests.test_readme import README

RUNNER = "uv run flc "

#: What the README says in words: a second instance, for a synchronization needs two.
SECOND = (
    "uv run flc instances enrol store-2 --organisation other --yes",
    "uv run flc publish patterns.jsonl --instance store-2 --organisation other",
)

#: What runs until Ctrl-C, and what it has printed when it is up.
LASTING = {
    "worker run": "Look at http://",
    "page": "The page of ",
    "subscribe": "Listening to ",
}


def typed(heading: str) -> list[str]:
    """Return the lines of the first console block under a heading, without their comments."""
    section = README.split(f"\n## {heading}\n")[1]
    (block, *_) = re.findall(r"```console\n(.*?)```", section, re.DOTALL)
    return [line.removeprefix("$ ").partition(" #")[0].strip() for line in block.splitlines()]


class Shell(Terminal):
    """Somebody who follows the README, and has one more terminal for each command that runs on."""

    def __init__(self, broker: str, directory: Path) -> None:
        super().__init__(broker, directory, FLC_FEDERATION="default", FLC_PAGE_ADDRESS="127.0.0.1:0")
        (patterns,) = re.findall(r"```json\n(.*?)```", README, re.DOTALL)
        (directory / "patterns.jsonl").write_text(patterns)
        self._running: list[subprocess.Popen[str]] = []

    def type(self, line: str) -> str:
        """Type a line and return what it prints; of what runs on, the line that says that it is up."""
        if line == "unset FLC_ENROLMENT":
            del self._environment["FLC_ENROLMENT"]
            return ""
        runner, arguments = line[: len(RUNNER)], shlex.split(line[len(RUNNER) :])
        assert runner == RUNNER
        for name, sign in LASTING.items():
            if " ".join(arguments).startswith(name):
                return self._begin(arguments, sign)
        printed = self.run(*(self._oldest_key() if word == "KEY" else word for word in arguments))
        if arguments == ["keys", "new", "--operator"]:
            self._environment["FLC_OPERATOR_KEYS"] = json.dumps({"default": printed.strip()})
        return printed

    def _begin(self, arguments: Sequence[str], sign: str) -> str:
        process = self.start(*arguments)
        self._running.append(process)
        assert process.stderr is not None
        return next(line for line in process.stderr if sign in line)

    def _oldest_key(self) -> str:
        shown = json.loads(self.run("instances", "show", "store-1", "--format", "json"))
        return str(shown["public_keys"][0]["key"])

    def end(self) -> list[int]:
        """Press Ctrl-C in every terminal and return the exit codes."""
        for process in self._running:
            process.send_signal(signal.SIGINT)
        ended = [(process.communicate(timeout=60), process.returncode) for process in self._running]
        self._running.clear()
        return [code for _, code in ended]

    def kill(self) -> None:
        """Leave nothing behind."""
        for process in self._running:
            process.kill()
            process.communicate()


@pytest.fixture
def shell(quiet_broker: str, tmp_path: Path) -> Iterator[Shell]:
    typing = Shell(quiet_broker, tmp_path)
    yield typing
    typing.kill()


def test_who_follows_the_readme_line_by_line_gets_what_it_says(shell: Shell) -> None:
    assert shell.type("uv run flc topics apply --yes").endswith(
        "Plan: 22 to create, 0 to update, 0 unchanged.\n"
    )
    printed = {line: shell.type(line) for line in (*typed("Your own deployment"), *SECOND, *typed("Operate"))}
    told = {line.removeprefix(RUNNER): text for line, text in printed.items()}
    assert "included" in told["publish patterns.jsonl --instance store-1 --organisation acme"]
    assert "workers 9 ok · instances 2 active · refused nothing" in told["watch"]
    assert "SynchronizationCompleted" in told["rounds request --wait"]
    assert "equal" in told["replay --round synchronization/1"]
    assert told["dead-letters list --since 24h"].split()[:2] == ["source", "reason"]
    assert [line.split()[0] for line in shell.type(f"{RUNNER}instances list").splitlines()[1:]] == ["store-2"]
    assert set(shell.end()) == {0}
