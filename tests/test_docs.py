"""The documentation of the API is what the code says."""

import re
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import convergence

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
