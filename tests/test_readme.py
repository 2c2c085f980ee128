"""The README: every command and every setting that it names exists, and its Python compiles."""

import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from flc.main import COMMANDS, load
from workers.settings import Settings

README = (Path(__file__).parent.parent / "README.md").read_text()

#: Options that are read by the commands themselves, not settings.
OPTION_VARIABLES = {"FLC_PARTITIONS", "FLC_ENVIRONMENT"}


def commands() -> list[str]:
    """Return every `flc …` of the README: of its console blocks and of its inline code."""
    blocks = re.findall(r"```console\n(.*?)```", README, re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()] + re.findall(r"`([^`\n]+)`", README)
    found = [
        match[1].strip() for line in lines if (match := re.search(r"(?:^|\s)(flc .*?)(?:\s#.*|$)", line))
    ]
    return sorted(set(found))


def test_the_readme_names_the_commands_that_matter() -> None:
    assert len(commands()) >= 15


@pytest.mark.parametrize("command", commands())
def test_every_command_of_the_readme_exists_with_its_options(command: str) -> None:
    _, noun, *rest = shlex.split(command)
    assert noun in COMMANDS
    found: Any = load(noun)
    if hasattr(found, "commands") and rest and not rest[0].startswith("-"):
        found = found.commands[rest.pop(0)]
    options = {name for parameter in found.params for name in parameter.opts}
    for word in rest:
        if word.startswith("--"):
            assert word in options, f"{command}: {word}"


def test_every_setting_of_the_readme_exists() -> None:
    settings = {f"FLC_{name}".upper() for name in Settings.model_fields} | OPTION_VARIABLES
    assert set(re.findall(r"FLC_[A-Z_]+", README)) - {"FLC_"} <= settings


def test_the_python_of_the_readme_runs_as_it_stands(tmp_path: Path) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    ended = subprocess.run(  # noqa: S603  (our own text)
        [sys.executable, "-W", "error", "-c", code],
        env={"PYTHONPATH": str(Path(__file__).parent.parent)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.startswith("shop-eu-1 included 0.65\nshop-us-1 included 0.98\n")


def test_every_file_that_the_readme_names_is_there() -> None:
    for name in re.findall(r"`((?:schemas|workers|benchmarks)/[a-z_./]+)`", README):
        assert (Path(__file__).parent.parent / name).exists(), name
