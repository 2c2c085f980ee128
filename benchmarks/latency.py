"""The figures: how long an answer takes and how much goes through, on an Apache Kafka on loopback.

    uv run python -m benchmarks.latency [publish] [synchronization] [throughput]

It starts a broker of its own, unless KAFKA_BOOTSTRAP_SERVERS names one, and one process per worker.
"""

import asyncio
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from random import Random

from nacl.signing import SigningKey

from benchmarks.system import System, system
from convergence.audit import audit
from convergence.deployment import Deployment
from convergence.keys import FederationKey, Keys
from convergence.outbound import Sender, report
from convergence.patterns import Pattern
from convergence.replay.replay import subject_of
from convergence.topics import partition_counts
from schemas import signing
from schemas.convergence import SynchronizationCompleted
from schemas.instances import InstanceRegistered, PublicKey
from schemas.reports import Admission, PatternReport
from workers.catalogue import WORKERS
from workers.runtime.port import Bus, Message, TopicPartition
from workers.settings import Settings

PATTERNS = 100
PUBLISHES = 100
#: Runs that do not count: connections, caches and the groups of a system just started.
WARM_UP = 3
SYNCHRONIZATIONS = 20
MANY = 1_000
PASSES = 5

#: How many messages go out at once.
BATCH = 200


def patterns(instance: int) -> list[Pattern]:
    """Return the patterns of one instance: two thirds are shared, the rest its own."""
    draw = Random(instance)  # noqa: S311  (made-up data)
    return [
        Pattern(
            pattern_id=f"shared-{place}" if place < PATTERNS * 2 // 3 else f"own-{instance}-{place}",
            pattern_type="usage",
            strength=draw.uniform(0.6, 1.0),
            resonance=draw.random(),
            epistemic_certainty=draw.uniform(0.86, 1.0),
            frequency=draw.randint(1, 1_000),
        )
        for place in range(PATTERNS)
    ]


def print_times(what: str, seconds: list[float]) -> None:
    """Print the median and the 99th percentile in ms."""
    ordered = sorted(seconds)
    p99 = ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))]
    print(f"{what}: p50 {statistics.median(ordered) * 1e3:.0f} ms, p99 {p99 * 1e3:.0f} ms, n={len(ordered)}")


async def publish(on: System) -> None:
    """From a publish of 100 patterns to the update that covers it, nothing else going on."""
    async with Deployment(on.bus, on.settings, "lone", "acme") as deployment:
        held = patterns(0)
        for _ in range(WARM_UP):
            await deployment.publish(held, timeout_s=60)
        times = []
        for _ in range(PUBLISHES):
            # Idle means: no update ran lately. The next one waits for four times as long as the last took.
            await asyncio.sleep(2 * on.settings.update_interval_ms / 1_000)
            began = time.perf_counter()
            await deployment.publish(held)
            times.append(time.perf_counter() - began)
    print_times(f"publish of {PATTERNS} patterns to covering update, idle", times)


async def synchronization(on: System) -> None:
    """From the command to SynchronizationCompleted, with everybody answering."""
    for count in (10, 100):
        own = on.federation(f"{count}")
        async with AsyncExitStack() as stack:
            deployments = [
                await stack.enter_async_context(Deployment(on.bus, own, f"i{i}", f"o{i}"))
                for i in range(count)
            ]
            await asyncio.gather(*(d.publish(patterns(i), 120) for i, d in enumerate(deployments)))
            for _ in range(WARM_UP):
                await deployments[0].request_synchronization()
            times = []
            for _ in range(SYNCHRONIZATIONS):
                began = time.perf_counter()
                event = await deployments[0].request_synchronization()
                times.append(time.perf_counter() - began)
                if not isinstance(event, SynchronizationCompleted) or event.instances_synced != count:
                    sys.exit(f"not a synchronization of {count} instances: {event}")
        print_times(f"synchronization of {count} instances x {PATTERNS} patterns", times)


async def throughput(on: System) -> None:
    """From the first publish of 1,000 instances to their last admission; then a round, which is audited."""
    rates = [await _pass(on.bus, on.federation(f"many-{number}")) for number in range(WARM_UP + PASSES)]
    # The first passes are those of a Java runtime that still compiles.
    print(
        f"{MANY} instances x {PATTERNS} patterns to admission, signatures/s: "
        f"p50 {statistics.median(rates[WARM_UP:]):,.0f}, passes {', '.join(f'{rate:,.0f}' for rate in rates)}"
    )
    name = f"{on.settings.federation}-many-{WARM_UP + PASSES - 1}"
    own = on.settings.model_copy(update={"federation": name})
    async with Deployment(on.bus, own, "asker", "asker", answers=False) as deployment:
        event = await deployment.request_synchronization(timeout_s=120)
    if isinstance(event, str):
        sys.exit(f"no round: {event}")
    (finding,) = [
        one for one in await audit(on.bus, own, event.round_id) if one.subject == subject_of(event.round_id)
    ]
    print(
        f"the round behind it: {type(event).__name__}, {getattr(event, 'instances_synced', 0)} instances; "
        f"recomputed from the log: {finding.verdict}"
    )


async def _pass(bus: Bus, settings: Settings) -> float:
    """Return how many signatures a second went from publish to admission."""
    identity = Keys(settings.keys_directory).federation(settings.federation)
    counts = await partition_counts(bus, (InstanceRegistered.topic, PatternReport.topic, Admission.topic))
    senders = [Sender(settings.federation, f"i{i}", SigningKey.generate(), counts) for i in range(MANY)]
    partitions = [TopicPartition(Admission.topic, n) for n in range(counts[Admission.topic])]
    own = f"{settings.federation}/".encode()
    async with AsyncExitStack() as stack:
        producer = await bus.producer()
        stack.push_async_callback(producer.close)
        await _send(producer.send, [_registration(sender, i % 50) for i, sender in enumerate(senders)])
        reports = [_report(sender, identity, i) for i, sender in enumerate(senders)]
        reader = await bus.reader(await bus.end_offsets(partitions))
        stack.push_async_callback(reader.close)
        began = time.perf_counter()
        sending = asyncio.create_task(_send(producer.send, reports))
        admitted = 0
        while admitted < MANY:
            admitted += sum((found.key or b"").startswith(own) for found in await reader.poll(1.0))
        seconds = time.perf_counter() - began
        await sending
    return MANY * PATTERNS / seconds


def _registration(sender: Sender, organisation: int) -> Message:
    registered = InstanceRegistered(
        federation=sender.federation,
        instance_id=str(sender.name),
        instance_name=str(sender.name),
        deployment_region="",
        organisation=f"o{organisation}",
        enrolment=1,
        public_keys=(PublicKey(key=signing.public_key(sender.key)),),
    )
    return sender.message(registered, 1, time.time_ns() // 1_000_000)


def _report(sender: Sender, identity: FederationKey, instance: int) -> Message:
    sequence = time.time_ns() // 1_000_000
    event = report(sender.federation, str(sender.name), sequence, identity, patterns(instance))
    return sender.message(event, sequence, sequence)


async def _send(send: Callable[[list[Message]], Awaitable[object]], messages: list[Message]) -> None:
    for start in range(0, len(messages), BATCH):
        await send(messages[start : start + BATCH])


async def main(chosen: list[str]) -> None:
    """Measure what is chosen, or everything."""
    measures = {"publish": publish, "synchronization": synchronization, "throughput": throughput}
    async with system() as on:
        for worker in WORKERS:
            await on.start(worker)
        for name in chosen or list(measures):
            await measures[name](on)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
