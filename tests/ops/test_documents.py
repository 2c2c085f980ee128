"""What an operator reads is complete: alerts have their section, settings their row, commands exist."""

import re

import pytest
from pydantic import SecretStr

from convergence.observation.lag import STOPPED_AFTER_MS, LagState
from flc.main import COMMANDS, load
from schemas import topics as declaration
from tests.ops.shipped import ROOT, rules
from workers.settings import Settings

OPERATE = (ROOT / "docs" / "operate.md").read_text()
SETTINGS = (ROOT / "docs" / "settings.md").read_text()


def test_every_alert_has_its_section_and_every_section_its_alert() -> None:
    assert re.findall(r"^### (\w+)$", OPERATE, re.MULTILINE) == [rule["alert"] for rule in rules()]


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule["alert"])
def test_an_alert_points_to_its_section_and_says_how_bad_it_is(rule: dict[str, dict[str, str]]) -> None:
    assert rule["annotations"]["runbook"] == f"docs/operate.md#{str(rule['alert']).lower()}"
    assert rule["annotations"]["summary"]
    assert rule["annotations"]["description"]
    assert rule["labels"]["severity"] in {"critical", "warning"}


def test_every_setting_is_documented_with_its_default() -> None:
    rows = re.findall(r"^\| `(\w+)` \|(.*?)\| \S", SETTINGS, re.MULTILINE)
    assert {name: default.strip() for name, default in rows} == {
        variable(name): shown(field.get_default(call_default_factory=True))
        for name, field in Settings.model_fields.items()
    }


def variable(name: str) -> str:
    """Return the environment variable of a setting."""
    alias = Settings.model_fields[name].validation_alias
    return f"FLC_{name.upper()}" if alias is None else str(alias.choices[-1])  # type: ignore[union-attr]


def shown(default: object) -> str:
    """Return how a default stands in the table."""
    if isinstance(default, SecretStr):
        return "a secret"
    return "" if default is None else f"`{default}`"


@pytest.mark.parametrize("page", [OPERATE, SETTINGS], ids=["operate", "settings"])
def test_every_command_and_every_setting_that_is_named_exists(page: str) -> None:
    assert set(re.findall(r"`(?:uv run )?flc ([a-z-]+)", page)) <= set(COMMANDS)
    known = {variable(name) for name in Settings.model_fields} | {"FLC_ENVIRONMENT", "FLC_PARTITIONS"}
    assert set(re.findall(r"\b(?:FLC|KAFKA)_[A-Z_]+[A-Z]\b", page)) <= known


def test_every_command_is_documented() -> None:
    pages = [(ROOT / "README.md").read_text(), *(page.read_text() for page in (ROOT / "docs").glob("*.md"))]
    text = "\n".join(pages)
    for noun in COMMANDS:
        for name in getattr(load(noun), "commands", {"": None}):
            assert re.search(rf"flc {noun} {name}".strip() + r"\b", text), f"flc {noun} {name}"


def test_every_state_of_lag_is_documented_with_the_alert_for_it() -> None:
    (section,) = re.findall(r"^## Lag\n(.*?)^## ", OPERATE, re.MULTILINE | re.DOTALL)
    states = re.findall(r"^\| (\w+) \|", section, re.MULTILINE)
    assert states == ["State", *(state.value for state in LagState)]
    assert set(re.findall(r"\[(Flc\w+)\]", section)) <= {rule["alert"] for rule in rules()}
    assert f"for {STOPPED_AFTER_MS / 1000} s" in section


def test_the_retention_of_every_topic_is_documented_and_nothing_else_is() -> None:
    (section,) = re.findall(r"^## Retention\n(.*?)^## ", OPERATE, re.MULTILINE | re.DOTALL)
    assert set(re.findall(r"\bflc\.[a-z-]+\.v1\b", section)) == set(declaration.load().declared)


def test_every_link_inside_leads_somewhere() -> None:
    titles = re.findall(r"^#+ (.+)$", OPERATE, re.MULTILINE)
    headings = {re.sub(r"[^\w-]", "", title.lower().replace(" ", "-")) for title in titles}
    assert set(re.findall(r"\]\(#([\w-]+)\)", OPERATE)) <= headings
    for name in set(re.findall(r"\]\(([\w.-]+\.md)\)", OPERATE + SETTINGS)):
        assert (ROOT / "docs" / name).is_file()
