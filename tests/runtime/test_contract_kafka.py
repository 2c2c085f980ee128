"""The contract of the bus, kept by a real Kafka."""

from collections.abc import AsyncIterator

import pytest

from tests.runtime.contract import BusContract
from workers.runtime.kafka import KafkaBus
from workers.runtime.port import Bus
from workers.settings import Settings


@pytest.fixture
async def bus(broker: str) -> AsyncIterator[Bus]:
    connection = KafkaBus(Settings(bootstrap_servers=broker, session_timeout_ms=6_000))
    yield connection
    await connection.close()


class TestKafka(BusContract):
    """All of it."""
