"""Fixtures of all tests: a real broker for those that ask for one."""

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from testcontainers.core.container import DockerContainer

from flc.broker import PROBE_ID, VERSION, BrokerFailed, EmbeddedBroker, free_port
from workers.runtime.kafka import KafkaBus
from workers.runtime.port import Unavailable
from workers.settings import Settings

_START_DEADLINE_S = 60


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Give a real Apache Kafka: the configured one, else the embedded one, else one in Docker.

    Topics with fixed names are shared by all tests: they use federations with unique names.
    """
    if configured := os.environ.get("KAFKA_BOOTSTRAP_SERVERS"):
        yield configured
        return
    yield from _fresh(tmp_path_factory)


@pytest.fixture(scope="module")
def quiet_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Give a real Apache Kafka that nobody else writes to."""
    yield from _fresh(tmp_path_factory)


def _fresh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    embedded = EmbeddedBroker()
    try:
        address = asyncio.run(embedded.start(tmp_path_factory.mktemp("broker")))
    except BrokerFailed as failure:
        yield from _in_docker(tmp_path_factory.mktemp("docker"), failure)
        return
    yield address
    embedded.stop()


def _in_docker(directory: Path, failure: BrokerFailed) -> Iterator[str]:
    try:
        container = KafkaContainer(directory)
        container.start()
    except Exception as error:  # noqa: BLE001  (docker's client raises what it likes; all of it means no Docker)
        message = f"no broker: {failure}; nor in Docker: {error}"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    try:
        asyncio.run(container.ready())
        yield container.address
    finally:
        container.stop()


class KafkaContainer(DockerContainer):
    """Apache's own image; the port is bound beforehand, for the broker must advertise it."""

    def __init__(self, directory: Path) -> None:
        super().__init__(f"apache/kafka:{VERSION}")
        port = free_port()
        self.address = f"127.0.0.1:{port}"
        properties = directory / "server.properties"
        properties.write_text(
            "process.roles=broker,controller\n"
            "node.id=1\n"
            "controller.quorum.voters=1@localhost:9093\n"
            f"listeners=PLAINTEXT://0.0.0.0:{port},CONTROLLER://localhost:9093\n"
            f"advertised.listeners=PLAINTEXT://{self.address}\n"
            "listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT\n"
            "controller.listener.names=CONTROLLER\n"
            "auto.create.topics.enable=false\n"
            "offsets.topic.replication.factor=1\n"
            "transaction.state.log.replication.factor=1\n"
            "transaction.state.log.min.isr=1\n"
            "group.initial.rebalance.delay.ms=0\n"
            "group.min.session.timeout.ms=1000\n"
            "transaction.abort.timed.out.transaction.cleanup.interval.ms=1000\n"
        )
        self.with_volume_mapping(str(directory), "/mnt/shared/config", "ro")
        self.with_bind_ports(port, port)

    async def ready(self) -> None:
        """Wait until a transactional producer starts."""
        async with asyncio.timeout(_START_DEADLINE_S):
            while True:
                bus = KafkaBus(Settings(bootstrap_servers=self.address))
                try:
                    await bus.transactional_producer(PROBE_ID, 10_000)
                except Unavailable:
                    continue
                else:
                    return
                finally:
                    await bus.close()
