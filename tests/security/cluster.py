"""A cluster that asks everybody who they are, and lets nobody do what the access list does not say."""

import argparse
import asyncio
import shlex
from collections.abc import AsyncIterator, Collection, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import trustme
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.protocol.admin import CreateAclsRequest
from cryptography.hazmat.primitives import serialization

from flc.broker import EmbeddedBroker, free_port
from workers.runtime.kafka import KafkaBus
from workers.settings import Settings

MECHANISM = "SCRAM-SHA-512"


def password_of(user: str) -> str:
    """Return the password of a user."""
    return f"the password of {user}"


@dataclass(frozen=True)
class Cluster:
    """A broker that is spoken to in three ways."""

    #: For us alone, in the clear: who comes here may do anything.
    open_address: str
    #: SASL_SSL: users with passwords.
    address: str
    #: SSL: who has a certificate of the authority.
    certificate_address: str
    authority: Path
    #: A certificate of the user CN=berlin and its key.
    certificate: Path
    key: Path
    directory: Path

    def environment(self, user: str, **changes: str) -> dict[str, str]:
        """Return the environment of a process that signs in as ``user``, its password in a file."""
        file = self.directory / f"password-{user}"
        file.write_text(f"{password_of(user)}\n")
        return {
            "KAFKA_BOOTSTRAP_SERVERS": self.address,
            "KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
            "KAFKA_SASL_MECHANISM": MECHANISM,
            "KAFKA_SASL_USERNAME": user,
            "KAFKA_SASL_PASSWORD_FILE": str(file),
            "KAFKA_SSL_CAFILE": str(self.authority),
            **changes,
        }

    def settings(self, user: str, **changes: Any) -> Settings:
        """Return the settings of who signs in as ``user``."""
        return Settings(
            _env_file=None,
            **{
                "bootstrap_servers": self.address,
                "security_protocol": "SASL_SSL",
                "sasl_mechanism": MECHANISM,
                "sasl_username": user,
                "sasl_password": password_of(user),
                "ssl_cafile": self.authority,
                "session_timeout_ms": 6_000,
                **changes,
            },
        )

    @asynccontextmanager
    async def bus(self, user: str, **changes: Any) -> AsyncIterator[KafkaBus]:
        """Yield the bus as ``user`` sees it."""
        bus = KafkaBus(self.settings(user, **changes))
        try:
            yield bus
        finally:
            await bus.close()


@contextmanager
def started(directory: Path, users: Collection[str]) -> Iterator[Cluster]:
    """Start a cluster that knows these users and permits them nothing."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(directory / "authority.pem")
    server = directory / "server.pem"
    server.write_bytes(_for_java(authority.issue_cert("127.0.0.1")))
    berlin = authority.issue_cert("berlin.example", common_name="berlin")
    berlin.cert_chain_pems[0].write_to_path(directory / "berlin.pem")
    berlin.private_key_pem.write_to_path(directory / "berlin.key")

    users_port, certificates_port = free_port(), free_port()
    here = "127.0.0.1"
    added = f"USERS://{here}:{users_port},CERTIFICATES://{here}:{certificates_port}"
    broker = EmbeddedBroker(
        {
            "listeners": f"PLAINTEXT://{here}:{{port}},CONTROLLER://{here}:{{controller}},{added}",
            "advertised.listeners": f"PLAINTEXT://{here}:{{port}},{added}",
            "listener.security.protocol.map": (
                "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,USERS:SASL_SSL,CERTIFICATES:SSL"
            ),
            "sasl.enabled.mechanisms": MECHANISM,
            f"listener.name.users.{MECHANISM.lower()}.sasl.jaas.config": (
                "org.apache.kafka.common.security.scram.ScramLoginModule required;"
            ),
            "listener.name.certificates.ssl.client.auth": "required",
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": str(server),
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": str(directory / "authority.pem"),
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            # Who comes without a name comes over the loopback in the clear: the broker itself, and the test.
            "super.users": "User:ANONYMOUS",
        },
        [f"--add-scram={MECHANISM}=[name={user},password={password_of(user)}]" for user in users],
    )
    address = asyncio.run(broker.start(directory / "broker"))
    try:
        yield Cluster(
            address,
            f"{here}:{users_port}",
            f"{here}:{certificates_port}",
            directory / "authority.pem",
            directory / "berlin.pem",
            directory / "berlin.key",
            directory,
        )
    finally:
        broker.stop()


def _for_java(certificate: trustme.LeafCert) -> bytes:
    """Return key and certificate as Kafka reads them: the key in PKCS 8, and no other."""
    key = serialization.load_pem_private_key(certificate.private_key_pem.bytes(), None)
    encoded = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return encoded + b"".join(pem.bytes() for pem in certificate.cert_chain_pems)


#: The numbers of Kafka's protocol, by the words of kafka-acls.
_RESOURCES = {"topic": 2, "group": 3, "transactional_id": 5}
_OPERATIONS = {"Read": 3, "Write": 4, "Create": 5, "Describe": 8, "DescribeConfigs": 10, "AlterConfigs": 11}
_PATTERNS = {"literal": 3, "prefixed": 4}
_ALLOW = 3


async def permit(cluster: Cluster, lines: Collection[str]) -> None:
    """Add to the access list what the arguments of kafka-acls say, a line a call."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--add", action="store_true", required=True)
    parser.add_argument("--allow-principal", required=True)
    parser.add_argument("--operation", action="append", choices=_OPERATIONS, required=True)
    parser.add_argument("--resource-pattern-type", choices=_PATTERNS, default="literal")
    resource = parser.add_mutually_exclusive_group(required=True)
    for name in _RESOURCES:
        resource.add_argument(f"--{name.replace('_', '-')}")
    client = AIOKafkaAdminClient(bootstrap_servers=cluster.open_address)
    await client.start()
    try:
        for line in lines:
            given = parser.parse_args(shlex.split(line))
            kind, name = next((kind, getattr(given, kind)) for kind in _RESOURCES if getattr(given, kind))
            pattern = _PATTERNS[given.resource_pattern_type]
            for operation in map(_OPERATIONS.__getitem__, given.operation):
                who = given.allow_principal
                request = CreateAclsRequest(_RESOURCES[kind], name, pattern, who, "*", operation, _ALLOW)
                response = await client._send_request(request)
                assert [code for code, _ in response.creation_responses] == [0]
    finally:
        await client.close()
