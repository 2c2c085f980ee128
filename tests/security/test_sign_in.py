"""Signing in to a real broker: with a password, with a certificate, and what is said when it fails."""

import time
from pathlib import Path
from typing import Any

import pytest

from flc.connection import connected
from tests.security.cluster import Cluster, password_of
from tests.security.conftest import flc
from workers.runtime.port import BusError, Refused

TOPIC = "flc.convergence.v1"


def test_a_wrong_password_is_one_clear_sentence_within_ten_seconds(cluster: Cluster, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong"
    wrong.write_text("not the password")
    started = time.monotonic()

    ended = flc(cluster, "flc-analyst", "subscribe", KAFKA_SASL_PASSWORD_FILE=str(wrong))

    assert time.monotonic() - started < 10
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr == (
        f"flc: Kafka at {cluster.address} does not accept the user flc-analyst with this password "
        "(SCRAM-SHA-512): see KAFKA_SASL_USERNAME and KAFKA_SASL_PASSWORD or KAFKA_SASL_PASSWORD_FILE\n"
    )


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"sasl_username": "nobody"}, "does not accept the user nobody"),
        ({"sasl_mechanism": "PLAIN"}, "see KAFKA_SASL_MECHANISM"),
        ({"ssl_cafile": None}, "a certificate that cannot be verified"),
        ({"sasl_password": None, "sasl_password_file": "/nowhere"}, "the password file cannot be read"),
        ({"ssl_cafile": "/nowhere"}, "the TLS files cannot be used"),
    ],
    ids=lambda value: ",".join(value) if isinstance(value, dict) else "",
)
async def test_every_way_to_sign_in_wrongly_names_the_setting(
    cluster: Cluster, changes: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(BusError, match=sentence):
        async with connected(cluster.settings("flc-analyst", **changes)):
            pass


async def test_a_certificate_signs_in_and_without_one_the_broker_hangs_up(cluster: Cluster) -> None:
    by_certificate = {"bootstrap_servers": cluster.certificate_address, "security_protocol": "SSL"}
    files = {"ssl_certfile": cluster.certificate, "ssl_keyfile": cluster.key}

    async with cluster.bus("nobody", **by_certificate, **files) as bus:
        assert await bus.describe([TOPIC]) == {}  # it is known, and may see nothing

    async with cluster.bus("nobody", **by_certificate) as bus:
        with pytest.raises(Refused, match="KAFKA_SSL_CERTFILE"):
            await bus.describe([TOPIC])


async def test_a_password_that_is_mended_in_its_file_counts_without_a_restart(
    cluster: Cluster, tmp_path: Path
) -> None:
    file = tmp_path / "password"
    file.write_text("not yet")

    async with cluster.bus("flc-analyst", sasl_password=None, sasl_password_file=file) as bus:
        with pytest.raises(Refused, match="this password"):
            await bus.describe([TOPIC])
        file.write_text(f"{password_of('flc-analyst')}\n")
        assert set(await bus.describe([TOPIC])) == {TOPIC}
