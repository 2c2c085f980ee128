"""Secrets stay where they are: planted, and then looked for in everything that leaves a process."""

import asyncio
import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from convergence.deployment import Deployment
from convergence.keys import Keys
from convergence.topics import everything
from schemas.signing import public_key
from schemas.topics import load
from tests.bad_input.system import System, running
from workers.catalogue import WORKERS
from workers.runtime.memory import MemoryBus
from workers.runtime.port import TopicPartition
from workers.settings import Settings

FEDERATION = "secrets"
PASSWORD = "canary-password-71f3"  # noqa: S105  (planted)
LETTER_KEY = "canary-letter-key-5b02"
NAME = "canary-module-9ac4"

PATTERN = {
    "pattern_id": NAME,
    "pattern_type": "usage",
    "strength": 0.9,
    "resonance": 0.8,
    "frequency": 3,
    "modules": [NAME],
    "event_types": [NAME],
    "epistemic_certainty": 0.95,
}


@dataclass
class Outputs:
    """What left the processes: of commands, of workers and on the bus; and the secrets, each by its name."""

    secrets: dict[str, bytes]
    commands: dict[str, bytes] = field(default_factory=dict)
    codes: dict[str, int | None] = field(default_factory=dict)
    workers: dict[str, bytes] = field(default_factory=dict)
    bus: dict[str, bytes] = field(default_factory=dict)

    def found(self, name: str) -> list[str]:
        """Return where a secret stands, in whatever spelling."""
        spelt = spellings(self.secrets[name])
        everywhere: Mapping[str, bytes] = {**self.commands, **self.workers, **self.bus}
        return [place for place, content in everywhere.items() if any(one in content for one in spelt)]


def spellings(secret: bytes) -> set[bytes]:
    """Return the ways in which bytes may be written out."""
    return {
        secret,
        secret.hex().encode(),
        secret.hex().upper().encode(),
        base64.b64encode(secret).rstrip(b"="),
        base64.urlsafe_b64encode(secret).rstrip(b"="),
        repr(secret).encode(),
    }


async def live(broker: str, directory: Path) -> Outputs:
    """Let a federation live, with its secrets, and everything go wrong that may show one."""
    keys = Keys(directory / ".flc" / "keys")
    operator = keys.ensure_operator(FEDERATION)
    outputs = Outputs(
        {
            "operator key": bytes(operator),
            "instance key": bytes(keys.ensure_instance(FEDERATION, "one")),
            "federation key": keys.new_federation(FEDERATION).secret,
            "password": PASSWORD.encode(),
            "letter key": LETTER_KEY.encode(),
            "pattern name": NAME.encode(),
        }
    )
    (directory / "patterns.jsonl").write_text(json.dumps(PATTERN))
    environment = {
        "FLC_FEDERATION": FEDERATION,
        "FLC_OPERATOR_KEYS": json.dumps({FEDERATION: public_key(operator)}),
        "FLC_LOG_LEVEL": "debug",
        "FLC_DEAD_LETTER_KEY": LETTER_KEY,
        "FLC_COLLECTION_DEADLINE_MS": "500",
        "KAFKA_SASL_PASSWORD": PASSWORD,
    }
    async with running(broker, directory, FEDERATION, ("--all",), **environment) as system:
        await _use(system, outputs)
        await _spoil(system, outputs, keys)
        for page in ("metrics", "info", "livez", "readyz"):
            outputs.workers[page] = system.look(page).encode()
        await _read(system, outputs)
    outputs.workers["log"] = system.errors.read_bytes()
    return outputs


async def _use(system: System, outputs: Outputs) -> None:
    """Do what people do."""
    await _run(system, outputs, "enrol", "instances", "enrol", "one", "--organisation", "acme", "--yes")
    publish = ("publish", "patterns.jsonl", "--instance", "one", "--organisation", "acme")
    await _run(system, outputs, "publish", *publish)
    await _run(system, outputs, "key", "keys", "new", "--instance", "one")
    await _run(system, outputs, "request", "rounds", "request", "--wait")
    await _run(system, outputs, "list", "instances", "list", "--format", "json")
    await _run(system, outputs, "letters", "dead-letters", "list", "--format", "json")


async def _spoil(system: System, outputs: Outputs, keys: Keys) -> None:
    """Do what goes wrong: unknown keys, open and damaged files, a broker that does not agree."""
    publish = ("publish", "patterns.jsonl", "--instance", "two", "--organisation", "acme")
    operator = keys.directory / f"{FEDERATION}.operator-key"
    aside = operator.rename(operator.with_suffix(".aside"))
    keys.ensure_instance(FEDERATION, "two")
    await _run(system, outputs, "not enrolled", *publish, FLC_OPERATOR_KEYS="{}", FLC_WAIT_TIMEOUT_S="1")
    await system.until(lambda: bool(system.landed.letters))
    aside.rename(operator)
    sasl = {"KAFKA_SECURITY_PROTOCOL": "SASL_PLAINTEXT", "KAFKA_SASL_MECHANISM": "PLAIN"}
    await _run(system, outputs, "refused", "topics", "diff", **sasl, KAFKA_SASL_USERNAME="one")
    await _run(system, outputs, "wrong setting", "worker", "list", KAFKA_SASL_MECHANISM=PASSWORD)
    operator.chmod(0o644)
    await _run(system, outputs, "open file", "instances", "enrol", "one", "--organisation", "x", "--yes")
    operator.chmod(0o600)
    content = operator.read_text()
    operator.write_text(content.strip()[:-1])
    await _run(system, outputs, "damaged file", "instances", "enrol", "one", "--organisation", "x", "--yes")
    operator.write_text(content)


async def _run(system: System, outputs: Outputs, name: str, *arguments: str, **environment: str) -> None:
    ended = await system.command(*arguments, **environment)
    outputs.codes[name] = ended.code
    outputs.commands[name] = (ended.out + ended.errors).encode()


async def _read(system: System, outputs: Outputs) -> None:
    topics = load()
    for topic in [
        *topics.declared.values(),
        *(topics.changelog(worker.name, worker.inputs) for worker in WORKERS.values()),
    ]:
        partitions = [TopicPartition(topic.name, number) for number in range(topic.partitions)]
        content = bytearray()
        async for record in everything(system.bus, partitions):
            content += b"\n".join([record.key or b"", record.value or b"", *map(_header, record.headers)])
        outputs.bus[topic.name] = bytes(content)


def _header(pair: tuple[str, bytes]) -> bytes:
    return pair[0].encode() + b": " + pair[1]


@pytest.fixture(scope="module")
def outputs(broker: str, tmp_path_factory: pytest.TempPathFactory) -> Outputs:
    return asyncio.run(live(broker, tmp_path_factory.mktemp("secrets")))


def test_what_should_have_happened_has_happened(outputs: Outputs) -> None:
    """Nothing would be found in outputs that are not there."""
    assert outputs.codes == {
        "enrol": 0,
        "publish": 0,
        "key": 0,
        "request": 1,  # one instance is below the quorum
        "list": 0,
        "letters": 0,
        "not enrolled": 1,
        "refused": 1,
        "wrong setting": 0,  # the command needs none
        "open file": 2,
        "damaged file": 2,
    }
    assert b"open to others" in outputs.commands["open file"]
    assert b"is damaged" in outputs.commands["damaged file"]
    assert FEDERATION.encode() in outputs.bus["flc.reports.v1"]
    assert b"unknown_instance" in outputs.bus["flc.dead-letters.v1"]
    assert b'"level": "debug"' in outputs.workers["log"]
    assert b"flc_records_read_total" in outputs.workers["metrics"]


@pytest.mark.parametrize("name", ["operator key", "instance key", "federation key", "password", "letter key"])
def test_a_secret_is_in_no_output(outputs: Outputs, name: str) -> None:
    assert outputs.found(name) == []


def test_the_names_of_patterns_do_not_leave_the_deployment(outputs: Outputs) -> None:
    assert outputs.found("pattern name") == []


def test_objects_that_hold_secrets_do_not_show_them(tmp_path: Path) -> None:
    keys = Keys(tmp_path)
    held = [bytes(keys.ensure_instance("default", "one")), keys.new_federation("default").secret]
    settings = Settings(
        keys_directory=tmp_path, sasl_password=PASSWORD, dead_letter_key=LETTER_KEY, _env_file=None
    )
    deployment = Deployment(MemoryBus(), settings, "one", "acme")
    shown = f"{settings!r} {settings} {vars(deployment)!r} {keys.federation('default')!r}".encode()
    for secret in (*held, PASSWORD.encode(), LETTER_KEY.encode()):
        assert not any(spelling in shown for spelling in spellings(secret))
