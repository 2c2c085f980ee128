"""One secured cluster for all tests here, with the topics and the access list as the commands make them."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.security.cluster import Cluster, permit, started
from workers.access import ROLES

ROOT = Path(__file__).parent.parent.parent


def flc(cluster: Cluster, user: str, *arguments: str, **changes: str) -> subprocess.CompletedProcess[str]:
    """Run a command in a process of its own, signed in as ``user``."""
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("FLC_", "KAFKA_"))
    }
    return subprocess.run(  # noqa: S603
        [sys.executable, "-c", "from flc.main import main; main()", *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=cluster.directory,
        env={**environment, "PYTHONPATH": str(ROOT), **cluster.environment(user), **changes},
        timeout=90,
    )


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Give a cluster on which every role may do what `flc topics acls` says, under a user of its own."""
    users = [f"flc-{role}" for role in ROLES]
    with started(tmp_path_factory.mktemp("cluster"), [*users, "flc-stranger"]) as cluster:
        listed = flc(cluster, "flc-operator", "topics", "acls", "--format", "kafka-acls")
        assert listed.returncode == 0, listed.stderr
        asyncio.run(permit(cluster, listed.stdout.splitlines()))
        applied = flc(cluster, "flc-topics-init", "topics", "apply", "--yes")
        assert applied.returncode == 0, applied.stderr
        yield cluster
