"""``flc demo``: a broker, the topics, all workers and a small federation in one process, one line a round."""

import asyncio
import socket
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from hashlib import sha256
from itertools import count
from pathlib import Path
from typing import Annotated

import typer

from convergence.deployment import Deployment
from convergence.observation.explanation import shown
from flc import broker, topics
from flc.connection import PortTaken, connected, settings_for
from flc.noun import noun
from flc.output import say
from flc.page.serving import page
from flc.signals import until_signalled
from flc.synthetic import ORGANISATIONS, SyntheticInstance
from flc.worker import serving
from schemas.convergence import PublicCriterion, RoundAbandoned, SynchronizationCompleted
from workers.catalogue import WORKERS
from workers.runtime import logs, topology
from workers.runtime.port import Bus
from workers.settings import Settings

app = noun()

#: The name of the demo's federation.
FEDERATION = "demo"

Seed = Annotated[int, typer.Option("--seed", help="The same seed gives the same federation.")]
Rounds = Annotated[int | None, typer.Option("--rounds", min=1, help="Stop after so many rounds.")]
Interval = Annotated[float, typer.Option("--interval", min=0, help="Seconds from one round to the next.")]
InstancesOnly = Annotated[
    bool,
    typer.Option(
        "--instances-only", help="Only the instances: broker and workers are those of the settings."
    ),
]


@app.command()
def demo(
    seed: Seed = 1,
    rounds: Rounds = None,
    interval: Interval = 3.0,
    *,
    instances_only: InstancesOnly = False,
) -> None:
    """Start everything on this machine and watch a small federation learn, until Ctrl-C."""
    work = _instances_only if instances_only else _everything
    asyncio.run(until_signalled(work(seed, rounds, interval)))


async def _everything(seed: int, rounds: int | None, interval_s: float) -> None:
    async with AsyncExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="flc-demo-")))
        log = stack.enter_context((directory / "demo.log").open("w"))
        kafka = broker.EmbeddedBroker()
        say(f"Starting Apache Kafka {broker.VERSION} (its jars are fetched the first time) …")
        address = await kafka.start(directory / "broker")
        stack.callback(kafka.stop)
        say(f"  broker     {address}")
        settings = demo_settings(address, directory)
        logs.configure(settings.log_level, log)
        bus = await stack.enter_async_context(connected(settings))
        declared = topics.declared()
        plan = await topics.planned(bus, declared)
        await topology.apply(bus, plan)
        say(f"  topics     {len(plan.create)} created")
        _, url = await stack.enter_async_context(serving(bus, settings, tuple(WORKERS), declared))
        say(f"  workers    {', '.join(WORKERS)}")
        say(f"  look at    {await stack.enter_async_context(_page(bus, settings))}")
        say(f"  processes  {url}/info, {url}/metrics, {log.name}")
        say(f"  listen     KAFKA_BOOTSTRAP_SERVERS={address} flc subscribe --federation {FEDERATION}")
        stack.callback(say, "Stopping and cleaning up …")
        await play(bus, settings, seed, rounds, interval_s)


@asynccontextmanager
async def _page(bus: Bus, settings: Settings) -> AsyncIterator[str]:
    """Serve the page where the settings say, or on any free port if that one is taken; yields its address."""
    async with AsyncExitStack() as stack:
        try:
            _, url = await stack.enter_async_context(page(bus, settings))
        except PortTaken:
            free = settings.model_copy(update={"page_address": "127.0.0.1:0"})
            _, url = await stack.enter_async_context(page(bus, free))
        yield url


async def _instances_only(seed: int, rounds: int | None, interval_s: float) -> None:
    settings = settings_for()
    with tempfile.TemporaryDirectory(prefix="flc-demo-") as directory:
        settings = settings.model_copy(update={"keys_directory": Path(directory), "enrolment": "open"})
        async with connected(settings) as bus:
            # Several containers may play: their host names keep their instances apart.
            await play(
                bus, settings, seed, rounds, interval_s, prefix=f"{socket.gethostname().lower()[:32]}-"
            )


def demo_settings(address: str, directory: Path) -> Settings:
    """Return the settings of the whole demo: open enrolment, short deadlines, everything in ``directory``."""
    return Settings(
        bootstrap_servers=address,
        federation=FEDERATION,
        enrolment="open",
        keys_directory=directory / "keys",
        collection_deadline_ms=3_000,
        acknowledgement_deadline_ms=2_000,
        http_port=0,
        log_level="error",
    )


async def play(
    bus: Bus, settings: Settings, seed: int, rounds: int | None, interval_s: float, *, prefix: str = ""
) -> None:
    """Let the instances publish what they have learned and synchronize, round after round."""
    _write_identity_key(settings, seed)
    learners = [SyntheticInstance(seed, index) for index in range(len(ORGANISATIONS))]
    async with AsyncExitStack() as stack:
        deployments = [
            await stack.enter_async_context(
                Deployment(
                    bus,
                    settings,
                    f"{prefix}{learner.organisation}-1",
                    learner.organisation,
                    deployment_region=learner.region,
                    heartbeat_period_s=5,
                )
            )
            for learner in learners
        ]
        say(f"  instances  {', '.join(deployment.instance_id for deployment in deployments)}")
        say("Every instance publishes its patterns, then all synchronize. Ctrl-C ends it.\n")
        before: float | None = None
        for number in count(1) if rounds is None else range(1, rounds + 1):
            if number > 1:
                await asyncio.sleep(interval_s)
            await asyncio.gather(
                *(
                    deployment.publish(learner.patterns(number))
                    for deployment, learner in zip(deployments, learners, strict=True)
                )
            )
            event = await deployments[0].request_synchronization()
            assert not isinstance(event, str)  # noqa: S101  (it was waited for)
            typer.echo(line(number, event, before))
            before = event.global_convergence if isinstance(event, SynchronizationCompleted) else before


def _write_identity_key(settings: Settings, seed: int) -> None:
    """Write a key that follows from the seed: the data is made up, and all who play must share it."""
    path = settings.keys_directory / f"{settings.federation}.0.federation-key"
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.touch(mode=0o600)
    path.write_text(sha256(f"demo/{seed}".encode()).hexdigest())


def line(number: int, event: SynchronizationCompleted | RoundAbandoned, before: float | None) -> str:
    """Return what the demo prints of a round; ``before`` is the convergence of the round before."""
    if isinstance(event, RoundAbandoned):
        return f"[round {number}] abandoned in {event.phase}: {event.reason}"
    total = event.instances_synced + sum(event.dropped.values())
    change = "" if before is None else f" ({event.global_convergence - before:+.2f})"
    return " · ".join(
        (
            f"[round {number}] {event.instances_synced}/{total} instances",
            f"converged {_verdict(event)}",
            f"convergence {event.global_convergence:.2f}{change}",
            f"{event.patterns_aggregated} shared patterns, {event.patterns_emerged} emerged",
            f"{event.sync_duration_ms} ms",
        )
    )


def _verdict(event: SynchronizationCompleted) -> str:
    """Return yes, or no with the criterion that is farthest from being met."""
    if event.convergence_achieved:
        return "yes"
    worst = min(event.criteria, key=lambda criterion: criterion.distance)
    return f"no ({_unmet(worst)})"


def _unmet(criterion: PublicCriterion) -> str:
    sign = ">" if criterion.name == "variance" else "<"
    value = shown(criterion.value, criterion.threshold)
    return f"{criterion.name} {value} {sign} {criterion.threshold:.2f}"
