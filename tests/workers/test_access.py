"""The access list: everybody may do what topics.yaml says of them, and no more."""

from collections.abc import Collection
from typing import Any

import pytest

from schemas.dead_letters import DeadLetter
from schemas.topics import load
from tests.deployments import settings
from workers.access import ANALYST, INSTANCE, OPERATOR, ROLES, TOPICS_INIT, Grant, Operation, Resource, grants
from workers.catalogue import WORKERS


def granted(role: str, **changes: Any) -> list[Grant]:
    """Return what a role is granted."""
    return [grant for grant in grants(load(), settings(**changes)) if grant.role == role]


def topics(role: str, operation: Operation, **changes: Any) -> set[str]:
    """Return the topics on which a role is granted an operation."""
    return {
        grant.name
        for grant in granted(role, **changes)
        if grant.resource is Resource.TOPIC and operation in grant.operations
    }


@pytest.mark.parametrize("worker", WORKERS.values(), ids=lambda worker: worker.name)
def test_a_worker_may_do_what_its_code_does(worker: Any) -> None:
    changelog = f"flc.changelog.{worker.name}.v1"

    assert topics(worker.name, Operation.READ) == {*worker.inputs, changelog}
    assert topics(worker.name, Operation.WRITE) == {*worker.outputs, DeadLetter.topic, changelog}
    others = [grant for grant in granted(worker.name) if grant.resource is not Resource.TOPIC]
    assert others == [
        Grant(worker.name, Resource.GROUP, worker.name, (Operation.READ,)),
        Grant(
            worker.name, Resource.TRANSACTIONAL_ID, f"flc.{worker.name}.", (Operation.WRITE,), prefixed=True
        ),
    ]


def test_an_instance_writes_what_it_signs_and_reads_results_and_registrations() -> None:
    assert topics(INSTANCE, Operation.WRITE) == {
        "flc.heartbeats.v1",
        "flc.reports.v1",
        "flc.commands.v1",
        "flc.acknowledgements.v1",
    }
    assert topics(INSTANCE, Operation.READ) == {
        "flc.instances.v1",
        "flc.knowledge.v1",
        "flc.convergence.v1",
    }
    assert {grant.resource for grant in granted(INSTANCE)} == {Resource.TOPIC}


def test_an_instance_may_register_itself_where_enrolment_is_open() -> None:
    assert "flc.instances.v1" in topics(INSTANCE, Operation.WRITE, enrolment="open")


def test_an_analyst_reads_what_is_public_and_writes_nothing() -> None:
    public = {topic.name for topic in load().declared.values() if topic.classification == "public"}

    assert topics(ANALYST, Operation.READ) == public
    assert topics(ANALYST, Operation.WRITE) == set()


def test_only_workers_write_where_instances_may_not() -> None:
    inbound = {topic.name for topic in load().declared.values() if topic.classification == "raw"}

    for role in (INSTANCE, ANALYST, OPERATOR, TOPICS_INIT):
        assert topics(role, Operation.WRITE, enrolment="open") <= inbound


def test_nobody_may_delete_and_only_topics_init_creates() -> None:
    creating = {
        role for role in ROLES if topics(role, Operation.CREATE) or topics(role, Operation.ALTER_CONFIGS)
    }

    assert creating == {TOPICS_INIT}
    assert "Delete" not in set(Operation)


@pytest.mark.parametrize(
    ("grant", "arguments"),
    [
        (
            Grant(INSTANCE, Resource.TOPIC, "flc.reports.v1", (Operation.WRITE, Operation.DESCRIBE_CONFIGS)),
            "--operation Write --operation DescribeConfigs --topic flc.reports.v1",
        ),
        (
            Grant("privacy", Resource.TRANSACTIONAL_ID, "flc.privacy.", (Operation.WRITE,), prefixed=True),
            "--operation Write --transactional-id flc.privacy. --resource-pattern-type prefixed",
        ),
    ],
    ids=["literal", "prefixed"],
)
def test_a_grant_is_a_line_for_kafka_acls(grant: Grant, arguments: Collection[str]) -> None:
    assert " ".join(grant.arguments("User:a")) == f"--add --allow-principal User:a {arguments}"
