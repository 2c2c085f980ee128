"""The bus that a command talks to, and the sentence for the person when it is not there."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from convergence.keys import Keys
from convergence.operator import Operator
from workers.runtime.kafka import KafkaBus
from workers.runtime.port import Bus, BusError, Unavailable
from workers.settings import Settings

#: A command gives up after so many seconds without any answer.
CONNECT_DEADLINE_S = 8.0

#: Any topic will do: the question is whether somebody answers.
_PROBE = "flc.convergence.v1"


class NotConfigured(Exception):  # noqa: N818
    """Raised when no broker is configured."""

    def __init__(self) -> None:
        super().__init__(
            "no broker is configured: set KAFKA_BOOTSTRAP_SERVERS=host:port, or start one here with "
            "`flc broker start`"
        )


class PortTaken(Exception):  # noqa: N818
    """Raised when a port of a process cannot be had."""

    def __init__(self, host: str, port: int, setting: str = "FLC_HTTP_PORT") -> None:
        super().__init__(
            f"the port {port} of {host} cannot be had: set {setting} to another one (0: any free one)"
        )


class Unreachable(BusError):  # noqa: N818
    """Raised when nobody answers at the configured address."""

    def __init__(self, address: str) -> None:
        super().__init__(
            f"no broker answers at {address}: set KAFKA_BOOTSTRAP_SERVERS to one that does "
            "(with KAFKA_SECURITY_PROTOCOL and KAFKA_SASL_… or KAFKA_SSL_… if it asks who you are)"
        )
        self.address = address


def settings_for(federation: str | None = None) -> Settings:
    """Return the settings, with the federation of the command line if it gives one."""
    return Settings() if federation is None else Settings(federation=federation)


def operator(bus: Bus, settings: Settings) -> Operator:
    """Return the federation's operator; where enrolment is open any key will do: one is made if need be."""
    if settings.enrolment == "open":
        Keys(settings.keys_directory).ensure_operator(settings.federation)
    return Operator(bus, settings)


@asynccontextmanager
async def connected(settings: Settings) -> AsyncIterator[Bus]:
    """Yield a bus that has answered; raises NotConfigured or, within 10 seconds, Unreachable or Refused."""
    if settings.bootstrap_servers is None:
        raise NotConfigured
    # What aiokafka has to say about a broker that is away is said in one sentence, ours.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    bus = KafkaBus(settings)
    try:
        try:
            async with asyncio.timeout(CONNECT_DEADLINE_S):
                await bus.describe([_PROBE])
        except (Unavailable, TimeoutError) as error:
            raise Unreachable(settings.bootstrap_servers) from error
        yield bus
    finally:
        await bus.close()
