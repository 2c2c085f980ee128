"""The bus in memory does what every adapter does."""

import pytest

from tests.runtime.contract import BusContract
from workers.runtime.memory import MemoryBus


@pytest.fixture
def bus() -> MemoryBus:
    return MemoryBus()


class TestMemory(BusContract):
    """See the contract."""
