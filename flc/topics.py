"""``flc topics``: the declaration against the code and against the cluster. Nothing is ever deleted."""

import asyncio
import shlex
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from typing import Annotated, Any

import typer

from flc.connection import connected, settings_for
from flc.noun import noun
from flc.output import Format, FormatOption, YesOption, confirm, counted, rows, say
from schemas import topics as declaration
from schemas.dead_letters import DeadLetter
from schemas.topics import Topic, Topics
from workers.access import ROLES, grants
from workers.catalogue import WORKERS
from workers.runtime import topology
from workers.runtime.port import Bus
from workers.runtime.topology import Plan

app = noun()

Environment = Annotated[
    str | None,
    typer.Option("--environment", envvar="FLC_ENVIRONMENT", help="An environment of topics.yaml."),
]
Partitions = Annotated[
    int | None,
    typer.Option(
        "--partitions",
        envvar="FLC_PARTITIONS",
        min=1,
        help="Partitions of every topic, instead of what is declared.",
    ),
]


@app.command()
def lint(environment: Environment = None) -> None:
    """Check topics.yaml by itself and against the code; exit code 2 if they differ."""
    topics = declaration.load(environment)
    problems = list(differences(topics))
    for problem in problems:
        typer.echo(problem)
    if problems:
        raise typer.Exit(2)
    typer.echo(
        f"{len(topics.declared)} topics and {len(WORKERS)} changelogs are declared as the code uses them."
    )


def differences(topics: Topics) -> Iterator[str]:
    """Yield, as sentences, where the declaration and the workers differ."""
    used: dict[str, tuple[set[str], set[str]]] = {name: (set(), set()) for name in topics.declared}
    for name, worker in WORKERS.items():
        for place, touched in enumerate(((*worker.outputs, DeadLetter.topic), worker.inputs)):
            for topic in touched:
                if topic in used:
                    used[topic][place].add(name)
                else:
                    yield f"the worker {name} uses {topic}, which is not declared"
    for name, (producers, consumers) in used.items():
        if unknown := {*topics[name].producers, *topics[name].consumers} - set(ROLES):
            yield f"{name} is used by {', '.join(sorted(unknown))}: there are {', '.join(ROLES)}"
        for role, said, done in (
            ("produced", topics[name].producers, producers),
            ("consumed", topics[name].consumers, consumers),
        ):
            if extra := (set(said) & set(WORKERS)) - done:
                yield f"{name} is declared to be {role} by {', '.join(sorted(extra))}, which do not"
            if missing := done - set(said):
                yield f"{name} is {role} by {', '.join(sorted(missing))}, which is not declared"


@app.command()
def diff(
    environment: Environment = None, partitions: Partitions = None, form: FormatOption = Format.TABLE
) -> None:
    """Compare topics.yaml with the code and with the cluster; exit code 2 if they differ."""
    topics = declared(environment, partitions)
    problems = list(differences(topics))
    plan = asyncio.run(_plan(topics))
    if form is Format.JSON:
        rows(changes(plan, problems), (), form)
        say(summary(plan))
    else:
        for problem in problems:
            typer.echo(f"! {problem}")
        show(plan)
        typer.echo(summary(plan))
    if problems or plan.create or plan.update or plan.refused:
        raise typer.Exit(2)


@app.command()
def apply(environment: Environment = None, partitions: Partitions = None, yes: YesOption = False) -> None:
    """Create and update the topics of the cluster; twice in a row changes nothing."""
    asyncio.run(_apply(declared(environment, partitions), yes))


async def _plan(topics: Topics) -> Plan:
    async with connected(settings_for()) as bus:
        return await planned(bus, topics)


async def _apply(topics: Topics, yes: bool) -> None:
    async with connected(settings_for()) as bus:
        plan = await planned(bus, topics)
        show(plan)
        if plan.create or plan.update:
            confirm(yes)
            await topology.apply(bus, plan)
    typer.echo(summary(plan))
    if plan.refused:
        raise typer.Exit(2)


def declared(environment: str | None = None, partitions: int | None = None) -> Topics:
    """Return the declared topics, with another number of partitions if one is given."""
    topics = declaration.load(environment)
    return topics if partitions is None else topics.with_partitions(partitions)


async def planned(bus: Bus, topics: Topics) -> Plan:
    """Return what brings the cluster to the declaration, changelogs included."""
    changelogs = (topics.changelog(name, worker.inputs) for name, worker in WORKERS.items())
    every: list[Topic] = [*topics.declared.values(), *changelogs]
    return topology.plan(every, await bus.describe([topic.name for topic in every]))


def show(plan: Plan) -> None:
    """Print a line for each difference."""
    for topic in plan.create:
        partitions, replicas = counted(topic.partitions, "partition"), counted(topic.replication, "replica")
        typer.echo(f"+ {topic.name}: {partitions}, {replicas}")
    for update in plan.update:
        for key, (live, wanted) in update.changes.items():
            typer.echo(f"~ {update.topic}: {key} {live} -> {wanted}")
    for sentence in plan.refused:
        typer.echo(f"! {sentence}")


def changes(plan: Plan, problems: Sequence[str] = ()) -> list[dict[str, Any]]:
    """Return the same for programs: an object for each difference, named by what ``apply`` does about it."""
    return [
        *({"change": "create", "topic": topic.name, "partitions": topic.partitions,
           "replication": topic.replication} for topic in plan.create),
        *({"change": "update", "topic": update.topic, "config": key, "live": live, "declared": wanted}
          for update in plan.update for key, (live, wanted) in update.changes.items()),
        *({"change": "none", "why": sentence} for sentence in (*problems, *plan.refused)),
    ]  # fmt: skip


def summary(plan: Plan) -> str:
    """Return the last line of every plan."""
    return (
        f"Plan: {len(plan.create)} to create, {len(plan.update)} to update, {len(plan.unchanged)} unchanged."
    )


class AclFormat(StrEnum):
    """How the access list is printed."""

    TABLE = "table"
    JSON = "json"
    KAFKA_ACLS = "kafka-acls"


@app.command()
def acls(
    environment: Environment = None,
    principal: Annotated[
        list[str] | None,
        typer.Option(
            "--principal",
            metavar="ROLE=PRINCIPAL",
            help="Who has a role, as the brokers name it; may be repeated. Default: User:flc-ROLE.",
        ),
    ] = None,
    form: Annotated[
        AclFormat, typer.Option("--format", help="For people, for programs, or a line for each kafka-acls.")
    ] = AclFormat.TABLE,
) -> None:
    """Print who may do what: the least that each worker, an instance, an analyst and the operator need.

    To apply it:
    flc topics acls --format kafka-acls | xargs -L 1 kafka-acls.sh --bootstrap-server … --command-config …
    """
    who = principals(principal or ())
    granted = [
        (name, grant) for grant in grants(declared(environment), settings_for()) for name in who[grant.role]
    ]
    if form is AclFormat.KAFKA_ACLS:
        for name, grant in granted:
            typer.echo(shlex.join(grant.arguments(name)))
        return
    shown = [
        {
            "principal": name,
            "resource": grant.resource.value,
            "name": grant.name,
            "pattern": "prefixed" if grant.prefixed else "literal",
            "operations": list(grant.operations) if form is AclFormat.JSON else ", ".join(grant.operations),
        }
        for name, grant in granted
    ]
    rows(shown, ("principal", "resource", "name", "pattern", "operations"), Format(form.value))


def principals(named: Sequence[str]) -> Mapping[str, Sequence[str]]:
    """Return the principals of every role from ROLE=PRINCIPAL; who is not named is User:flc-ROLE."""
    found: defaultdict[str, list[str]] = defaultdict(list)
    for one in named:
        role, equals, principal = one.partition("=")
        if role not in ROLES or not equals or not principal:
            raise typer.BadParameter(f"{one} is not ROLE=PRINCIPAL with one of the roles {', '.join(ROLES)}")
        found[role].append(principal)
    return {role: found[role] or [f"User:flc-{role}"] for role in ROLES}
