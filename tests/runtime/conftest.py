"""What all tests of the runtime share."""

import pytest

from workers.runtime import logs


@pytest.fixture(autouse=True)
def _quiet() -> None:
    # structlog as it comes renders every traceback in colours, which takes seconds.
    logs.configure("error")
