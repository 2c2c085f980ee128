"""What tests need of the machine that they run on."""

import os
import shutil

import pytest


def installed(package: str, *names: str) -> str:
    """Return the path of a program; skip without it, or fail where it has been installed (CI)."""
    for name in names or (package,):
        if (found := shutil.which(name)) is not None:
            return found
    message = f"not installed: apt-get install {package}"
    if os.environ.get("CI") == "true":
        pytest.fail(message)
    pytest.skip(message)
