"""The package costs nothing until it is used, and never a broker's client without a broker."""

import subprocess
import sys
from pathlib import Path

import pytest

import convergence

ROOT = Path(__file__).parent.parent.parent


def imported(code: str) -> set[str]:
    """Return the modules that a fresh process has loaded after ``code``."""
    ended = subprocess.run(  # noqa: S603
        [sys.executable, "-c", f"{code}; import sys; print(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    return set(ended.stdout.split())


@pytest.mark.parametrize(
    "code", ["import convergence", "from convergence import get_federated_convergence_integration"]
)
def test_an_import_loads_nothing_heavy(code: str) -> None:
    heavy = {"aiokafka", "asyncio", "numpy", "pydantic", "structlog", "workers"}
    assert imported(code) & heavy == set()


def test_without_a_broker_nobody_loads_its_client() -> None:
    code = "from convergence import get_federated_convergence_integration as get; get()"
    assert "aiokafka" not in imported(code)


def test_everything_that_is_exported_is_there() -> None:
    for name in convergence.__all__:
        assert getattr(convergence, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = convergence.nothing
