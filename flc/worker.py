"""``flc worker``: run workers until SIGTERM, list them."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from typing import Annotated

import structlog
import typer

from flc.connection import NotConfigured, PortTaken, settings_for
from flc.noun import noun
from flc.output import Format, FormatOption, rows, say
from flc.signals import until_signalled
from flc.topics import Environment, Partitions, declared
from schemas.commands import SynchronizationRequested
from schemas.instances import InstanceRegistered
from schemas.topics import Topics
from workers.catalogue import WORKERS
from workers.runtime import http, logs
from workers.runtime.failures import Misconfigured
from workers.runtime.garbage import collect_less
from workers.runtime.kafka import KafkaBus
from workers.runtime.port import Bus
from workers.runtime.supervisor import Process
from workers.runtime.tracing import OFF, Tracing
from workers.settings import Settings

app = noun()

_log = structlog.get_logger("flc.worker")


@app.command()
def run(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="NAME…", help="Workers; see `flc worker list`.")
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="All nine in this process.")] = False,
    environment: Environment = None,
    partitions: Partitions = None,
) -> None:
    """Run workers in this process until Ctrl-C or SIGTERM; then what is in hand is finished first."""
    if bool(names) == every:
        raise typer.BadParameter("name one or more workers, or pass --all")
    chosen = tuple(WORKERS) if every else tuple(names or ())
    if unknown := sorted(set(chosen) - set(WORKERS)):
        raise typer.BadParameter(f"no worker is called {', '.join(unknown)}: there are {', '.join(WORKERS)}")
    settings = settings_for()
    if settings.bootstrap_servers is None:
        raise NotConfigured
    logs.configure(settings.log_level)
    collect_less()
    asyncio.run(until_signalled(_run(chosen, settings, declared(environment, partitions))))


async def _run(names: Sequence[str], settings: Settings, topics: Topics) -> None:
    say(f"Workers {', '.join(names)} on {settings.bootstrap_servers} (KAFKA_BOOTSTRAP_SERVERS).")
    warn_of_enrolment(settings, names)
    bus = KafkaBus(settings)
    try:
        # A broker that is away is waited for: the log says so, and /readyz.
        async with serving(bus, settings, names, topics) as (process, url):
            say(f"Look at {url}/readyz, /livez, /metrics, /info. Ctrl-C or SIGTERM drains and ends.")
            await process.run(asyncio.Event())
    finally:
        await bus.close()


def warn_of_enrolment(settings: Settings, names: Sequence[str]) -> None:
    """Log who may take part, if that is everybody or nobody and these workers decide it."""
    signed = {InstanceRegistered.topic, SynchronizationRequested.topic}
    if not any(signed & set(WORKERS[name].inputs) for name in names):
        return
    if settings.enrolment == "open":
        _log.warning(
            "enrolment.open",
            meaning="anybody may register an instance, first come first kept: not for production",
        )
    elif not settings.operator_keys:
        _log.warning(
            "enrolment.closed",
            meaning="FLC_OPERATOR_KEYS is empty: nobody can be enrolled, see `flc keys new --operator`",
        )


@asynccontextmanager
async def serving(
    bus: Bus, settings: Settings, names: Sequence[str], topics: Topics
) -> AsyncIterator[tuple[Process, str]]:
    """Run workers and their HTTP port while the block runs; yields the process and the address to look at.

    Raises Misconfigured, and PortTaken.
    """
    async with AsyncExitStack() as stack:
        tracing = stack.enter_context(tracer(settings))
        process = Process(bus, [WORKERS[name] for name in names], settings, topics=topics, tracing=tracing)
        application = http.application(process)
        try:
            port = await stack.enter_async_context(
                http.serving(application, settings.http_host, settings.http_port)
            )
        except OSError as error:
            raise PortTaken(settings.http_host, settings.http_port) from error
        await stack.enter_async_context(process)
        yield process, f"http://{settings.http_host}:{port}"


@contextmanager
def tracer(settings: Settings) -> Iterator[Tracing]:
    """Yield where spans go, if they are wanted; sends the last ones at the end. Raises Misconfigured."""
    if not settings.tracing:
        yield OFF
        return
    try:
        from workers.runtime import spans  # noqa: PLC0415  (an optional extra)
    except ModuleNotFoundError as error:
        raise Misconfigured("FLC_TRACING takes an extra: uv run --extra tracing flc worker run …") from error
    tracing = spans.exporting(settings.transactional_id_prefix)
    try:
        yield tracing
    finally:
        tracing.close()


@app.command("list")
def list_workers(form: FormatOption = Format.TABLE) -> None:
    """List the workers: what each reads and writes."""
    listed = [
        {"worker": name, "reads": ", ".join(worker.inputs), "writes": ", ".join(worker.outputs)}
        for name, worker in WORKERS.items()
    ]
    rows(listed, ("worker", "reads", "writes"), form)
