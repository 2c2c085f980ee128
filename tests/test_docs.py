"""The documentation of the API is what the code says."""

import re
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import convergence
from workers.settings import Settings

DOCS = Path(__file__).parent.parent / "docs"


def reference() -> Any:
    spec = spec_from_file_location("reference", DOCS / "reference.py")
    assert spec is not None
    assert spec.loader is not None
    loaded = module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


def test_the_reference_is_current() -> None:
    page = (DOCS / "api.md").read_text(encoding="utf-8")
    assert page == reference().page(), "stale: uv run python docs/reference.py"


def test_everything_that_is_exported_is_in_it_and_documented() -> None:
    page = (DOCS / "api.md").read_text(encoding="utf-8")
    for name in convergence.__all__:
        assert f"### {name}\n" in page
    assert not re.search(r"```\n\n(```|#|\Z)", page), "something has no docstring"


def test_the_page_on_differences_names_what_exists() -> None:
    page = (DOCS / "differences.md").read_text(encoding="utf-8")
    api = (DOCS / "api.md").read_text(encoding="utf-8")
    names = set(re.findall(r"`([A-Za-z_]+)`", page)) - {"metadata", "FLC_RELEASE_THRESHOLD"}
    assert len(names) >= 15
    assert [name for name in sorted(names) if name not in api] == []


def test_every_test_that_the_page_on_reliability_names_is_there() -> None:
    page = (DOCS / "reliability.md").read_text(encoding="utf-8")
    named = re.findall(r"`(tests/[\w/]+(?:\.py)?)(?:::(\w+))?`", page)
    assert len(named) >= 15
    for path, test in named:
        place = DOCS.parent / path
        assert place.exists(), path
        assert not test or f"def {test}(" in place.read_text(encoding="utf-8"), test


def test_every_setting_that_the_page_on_reliability_names_is_there() -> None:
    page = (DOCS / "reliability.md").read_text(encoding="utf-8")
    known = {f"FLC_{name.upper()}" for name in Settings.model_fields}
    assert set(re.findall(r"FLC_[A-Z_]+", page)) <= known
