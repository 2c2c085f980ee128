"""The command line: instant, and one clear sentence where something is wrong."""

import json
import math
import shlex
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from structlog.testing import capture_logs

from convergence.errors import UnknownInstance
from flc import errors, topics
from flc.broker import BrokerFailed
from flc.connection import NotConfigured
from flc.main import COMMANDS, load
from flc.worker import warn_of_enrolment
from schemas import topics as declaration
from workers.catalogue import WORKERS
from workers.runtime import topology
from workers.runtime.port import BusError, TopicDescription, Unavailable
from workers.settings import Settings
from workers.version import code_version

ROOT = Path(__file__).parent.parent

PATTERN = {"pattern_id": "p", "pattern_type": "usage", "strength": 0.9, "epistemic_certainty": 0.9}


def flc(*arguments: str, directory: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command line in a process of its own, with nothing in its environment but what is given."""
    variables: Mapping[str, str] = {"PYTHONPATH": str(ROOT), "PATH": "", **environment}
    return subprocess.run(  # noqa: S603
        [sys.executable, "-c", "from flc.main import main; main()", *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=directory,
        env=dict(variables),
        timeout=60,
    )


def test_the_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; sys.argv = ['flc', '--help']\n"
        "from flc.main import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print([name for name in ('numpy', 'aiokafka', 'pydantic', 'rich') if name in sys.modules])\n"
    )
    ended = subprocess.run(  # noqa: S603
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert ended.stdout.splitlines()[-1] == "[]"
    assert all(name in ended.stdout for name in COMMANDS)


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_listed_command_can_be_loaded_and_explains_itself(name: str) -> None:
    assert load(name).help


def test_an_unknown_command_is_a_usage_error(tmp_path: Path) -> None:
    ended = flc("nonsense", directory=tmp_path)
    assert ended.returncode == 2
    assert "nonsense" in ended.stderr


def test_without_a_configured_broker_the_command_says_what_to_set(tmp_path: Path) -> None:
    ended = flc("rounds", "list", directory=tmp_path)
    assert ended.returncode == 2
    assert "KAFKA_BOOTSTRAP_SERVERS" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_broker_that_is_away_is_one_sentence_with_its_address(tmp_path: Path) -> None:
    with socket.socket() as nobody:  # bound but not listening: every connection is refused
        nobody.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{nobody.getsockname()[1]}"
        ended = flc("topics", "diff", directory=tmp_path, KAFKA_BOOTSTRAP_SERVERS=address)
    assert ended.returncode == 1
    assert address in ended.stderr
    assert "KAFKA_BOOTSTRAP_SERVERS" in ended.stderr
    assert len(ended.stderr.splitlines()) == 1


def test_a_wrong_setting_is_named_as_it_has_to_be_written(tmp_path: Path) -> None:
    ended = flc("rounds", "list", directory=tmp_path, FLC_HTTP_PORT="many")
    assert ended.returncode == 2
    assert "FLC_HTTP_PORT" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_setting_that_is_not_json_is_named_without_a_traceback(tmp_path: Path) -> None:
    ended = flc("lag", directory=tmp_path, FLC_OPERATOR_KEYS="ab" * 32)
    assert ended.returncode == 2
    assert ended.stderr == "flc: a setting is wrong: FLC_OPERATOR_KEYS: write it as JSON\n"


def test_the_version_is_that_of_the_code(tmp_path: Path) -> None:
    assert flc("--version", directory=tmp_path).stdout == f"{code_version()}\n"


def test_what_kubernetes_injects_for_a_service_called_kafka_does_no_harm(tmp_path: Path) -> None:
    ended = flc("worker", "list", directory=tmp_path, KAFKA_PORT="tcp://10.0.0.1:9092", KAFKA_HOST="x")
    assert ended.returncode == 0


def test_a_file_with_broken_lines_names_each_and_publishes_nothing(tmp_path: Path) -> None:
    good = json.dumps(PATTERN)
    (tmp_path / "patterns.jsonl").write_text(f'{good}\n{{"strength": 2}}\nnot json\n')
    arguments = ("publish", "patterns.jsonl", "--instance", "a", "--organisation", "o")
    ended = flc(*arguments, directory=tmp_path)
    assert ended.returncode == 1
    assert "patterns.jsonl:2: " in ended.stderr
    assert "patterns.jsonl:3: not JSON" in ended.stderr
    assert "nothing was published" in ended.stderr


def test_a_key_is_made_once_private_and_only_its_public_half_is_printed(tmp_path: Path) -> None:
    first = flc("keys", "new", "--operator", directory=tmp_path)
    again = flc("keys", "new", "--operator", directory=tmp_path)
    file = tmp_path / ".flc" / "keys" / "default.operator-key"
    assert len(first.stdout.strip()) == 64
    assert first.stdout == again.stdout
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.read_text().strip() not in first.stdout + first.stderr


def test_the_identity_key_is_kept_until_the_next_one_is_asked_for(tmp_path: Path) -> None:
    directory = tmp_path / ".flc" / "keys"
    for _ in range(2):
        assert "Key epoch 0" in flc("keys", "new", "--identity", directory=tmp_path).stderr
    assert [path.name for path in directory.iterdir()] == ["default.0.federation-key"]
    assert "Key epoch 1" in flc("keys", "new", "--identity", "--next", directory=tmp_path).stderr
    assert flc("keys", "new", "--operator", "--next", directory=tmp_path).returncode == 2


def test_the_command_line_beats_the_environment_and_that_the_env_file_and_that_the_default(
    tmp_path: Path,
) -> None:
    def made(*arguments: str, **environment: str) -> str:
        flc("keys", "new", "--operator", *arguments, directory=tmp_path, **environment)
        (file,) = (tmp_path / ".flc" / "keys").iterdir()
        file.unlink()
        return file.name.removesuffix(".operator-key")

    assert made() == "default"
    (tmp_path / ".env").write_text("FLC_FEDERATION=written\n")
    assert made() == "written"
    assert made(FLC_FEDERATION="far") == "far"
    assert made("--federation", "near", FLC_FEDERATION="far") == "near"


def test_an_orchestrator_that_is_not_there_is_a_usage_error(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("")
    for spec in ("mine:Missing", "nowhere:Mine", "mine"):
        ended = flc("subscribe", "--orchestrator", spec, directory=tmp_path)
        assert ended.returncode == 2
        assert f"there is no {spec}" in " ".join(ended.stderr.split())


def test_the_workers_are_listed_as_json_one_a_line(tmp_path: Path) -> None:
    ended = flc("worker", "list", "--format", "json", directory=tmp_path)
    assert [json.loads(line)["worker"] for line in ended.stdout.splitlines()] == list(WORKERS)


@pytest.mark.parametrize(
    ("settings", "warned"),
    [
        ({"enrolment": "open"}, ["enrolment.open"]),
        ({}, ["enrolment.closed"]),
        ({"operator_keys": {"default": "ab" * 32}}, []),
    ],
)
def test_workers_that_let_in_everybody_or_nobody_say_so(settings: dict[str, Any], warned: list[str]) -> None:
    with capture_logs() as logged:
        warn_of_enrolment(Settings(_env_file=None, **settings), ["privacy", "validation"])
        warn_of_enrolment(Settings(_env_file=None, **settings), ["validation", "aggregation"])
    assert [line["event"] for line in logged] == warned


def test_the_topics_are_declared_as_the_workers_use_them() -> None:
    assert list(topics.differences(declaration.load())) == []


def test_the_differences_of_the_topics_are_told_to_programs_one_by_one() -> None:
    reports = declaration.load()["flc.reports.v1"]
    acknowledgements = declaration.load()["flc.acknowledgements.v1"]
    configs = {**acknowledgements.configs, "retention.ms": "1"}
    live = TopicDescription(acknowledgements.name, 6, 3, configs)
    plan = topology.plan([reports, acknowledgements], {acknowledgements.name: live})
    created, updated, refused = topics.changes(plan)
    assert created == {"change": "create", "topic": "flc.reports.v1", "partitions": 6, "replication": 1}
    assert (updated["change"], updated["config"], updated["live"]) == ("update", "retention.ms", "1")
    assert (refused["change"], "has 3 replicas" in refused["why"]) == ("none", True)


def test_a_topic_that_a_worker_uses_against_its_declaration_is_named() -> None:
    declared = declaration.load()
    health = declared["flc.health.v1"].model_copy(update={"producers": ("privacy",)})
    changed = declared.model_copy(update={"declared": {**declared.declared, health.name: health}})
    assert list(topics.differences(changed)) == [
        "flc.health.v1 is declared to be produced by privacy, which do not",
        "flc.health.v1 is produced by health, which is not declared",
    ]


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (NotConfigured(), 2),
        (BusError("no"), 1),
        (Unavailable("no"), 1),
        (BrokerFailed("no"), 1),
        (UnknownInstance("no"), 1),
        (ExceptionGroup("several", [BusError("no")]), 1),
    ],
)
def test_a_known_error_is_a_sentence_and_an_exit_code(error: Exception, code: int) -> None:
    sentence, given = errors.explain(error)
    assert sentence
    assert given == code


@pytest.mark.parametrize(
    "wrong",
    [
        {"http_port": -1},
        # What a worker would find out much later, when it is assigned its partitions
        {"sync_window_s": math.inf},
        {"heartbeat_timeout_s": math.inf},
        {"report_max_age_s": math.inf},
        {"audit_window_s": math.inf},
        {"aggregation_method": "trimmed", "aggregation_trim": 0.4999999},
    ],
    ids=str,
)
def test_a_setting_that_is_impossible_is_a_usage_error(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as caught:
        Settings(_env_file=None, **wrong)
    assert errors.explain(caught.value)[1] == 2


def test_a_defect_keeps_its_traceback() -> None:
    assert errors.explain(KeyError("defect")) == (None, 1)


def test_a_role_may_be_held_by_several_principals_whatever_their_names(tmp_path: Path) -> None:
    who = ["--principal", "analyst=User:CN=ada, O=acme", "--principal", "analyst=User:bob"]

    lines = flc("topics", "acls", "--format", "kafka-acls", *who, directory=tmp_path).stdout.splitlines()
    listed = flc("topics", "acls", "--format", "json", *who, directory=tmp_path).stdout.splitlines()

    named = {line["principal"] for line in map(json.loads, listed)}
    assert {"User:CN=ada, O=acme", "User:bob", "User:flc-operator"} <= named
    assert "User:flc-analyst" not in named
    assert [shlex.split(line)[2] for line in lines] == [json.loads(line)["principal"] for line in listed]


def test_a_principal_without_a_role_is_a_usage_error(tmp_path: Path) -> None:
    ended = flc("topics", "acls", "--principal", "User:bob", directory=tmp_path)

    assert ended.returncode == 2
    assert "User:bob is not ROLE=PRINCIPAL" in ended.stderr


def test_a_secret_may_stand_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("from the file\n")

    settings = Settings(_env_file=None, page_token_file=file, dead_letter_key_file=file)

    for secret in (settings.page_token, settings.dead_letter_key):
        assert secret is not None
        assert secret.get_secret_value() == "from the file"


def test_a_secret_file_that_is_not_there_is_one_clear_sentence(tmp_path: Path) -> None:
    ended = flc("topics", "acls", directory=tmp_path, FLC_DEAD_LETTER_KEY_FILE="/nowhere")

    assert ended.returncode == 2
    assert ended.stderr.count("\n") == 1
    assert "FLC_DEAD_LETTER_KEY_FILE cannot be read" in ended.stderr
