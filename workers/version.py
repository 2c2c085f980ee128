"""The version of the code that runs: letters, metrics and spans say it."""

from functools import cache
from importlib.metadata import PackageNotFoundError, version

#: Name of the distribution.
DISTRIBUTION = "federated-learning-convergence"


@cache
def code_version() -> str:
    """Return the version of the installed distribution; "0+source" in a checkout that is not installed."""
    try:
        return version(DISTRIBUTION)
    except PackageNotFoundError:
        return "0+source"
