"""What all tests of the runtime share."""

import logging
from collections.abc import Iterator

import pytest

from workers.runtime import logs


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    root = logging.getLogger()
    level, handlers = root.level, list(root.handlers)
    # structlog as it comes renders every traceback in colours, which takes seconds.
    logs.configure("error")
    yield
    root.setLevel(level)
    root.handlers[:] = handlers
