"""What counting costs: the CPU of the metrics against that of the work which they count, in one run.

The privacy worker's fold and the encoding of what it publishes stand for the work. Broker, client and
transactions, which are left out, would only make the share smaller.
"""

from collections.abc import Sequence

from benchmarks.figure import Figure
from benchmarks.load import Federation, Population
from benchmarks.measurement import Spread, in_turn, ratios
from benchmarks.sizes import Sizes
from schemas.topics import load
from workers.fold import Context, Record, Step
from workers.privacy import Privacy, PrivacyState
from workers.runtime.clock import unix_ms
from workers.runtime.encoding import encode
from workers.runtime.metrics import Metrics
from workers.runtime.port import Message
from workers.settings import Settings

#: Reports of one step: with one at a time each would bear the costs of a batch alone.
AT_ONCE = 20

#: Seconds between two scrapes.
SCRAPE_S = 15


def figures(sizes: Sizes) -> list[Figure]:
    """Measure; the ratio is of CPU seconds."""
    partitions = dict.fromkeys(load().declared, 1)
    federation = Federation("benchmark", Population(sizes.instances, sizes.patterns, sizes.pool), partitions)
    worker = Privacy(Context(0, partitions, Settings(enrolment="open")))
    registered, reports = records(federation.registrations()), records(federation.reports())
    batches = [reports[start : start + AT_ONCE] for start in range(0, len(reports), AT_ONCE)]
    states = [state_with(worker, registered) for _ in range(sizes.warm_up + sizes.repetitions + 1)]
    steps = worked(worker, states.pop(), batches)
    metrics = Metrics()
    metrics.start(Privacy)
    costs = in_turn(
        {
            "work": lambda: worked(worker, states.pop(), batches),
            "counting": lambda: counted(metrics, batches, steps),
            "scrape": metrics.exposition,
        },
        repetitions=sizes.repetitions,
        warm_up=sizes.warm_up,
    )
    work, counting, scrape = ([cost.cpu_seconds for cost in of] for of in costs.values())
    # Work that takes all of a core is interrupted by a scrape so often.
    cost = [
        count + scraped * done / SCRAPE_S for count, scraped, done in zip(counting, scrape, work, strict=True)
    ]
    return [
        Figure(
            "metrics",
            f"counting reports of {sizes.patterns} patterns and being scraped / judging and encoding them",
            0.02,
            "at most",
            ratios(cost, work),
            {
                "work_us_per_report": Spread.of(work).median / len(reports) * 1e6,
                "counting_us_per_report": Spread.of(counting).median / len(reports) * 1e6,
                "scrape_ms": Spread.of(scrape).median * 1e3,
            },
        )
    ]


def records(messages: Sequence[Message]) -> list[Record]:
    """Return messages as the broker has them."""
    now_ms = unix_ms()
    return [
        Record(one.topic, one.partition, offset, now_ms, one.key, one.value, one.headers)
        for offset, one in enumerate(messages)
    ]


def state_with(worker: Privacy, registered: Sequence[Record]) -> PrivacyState:
    """Return a state that knows the instances and none of their reports."""
    state = worker.state()
    worker.step(state, registered)
    return state


def worked(worker: Privacy, state: PrivacyState, batches: Sequence[Sequence[Record]]) -> list[Step]:
    """Judge every batch and encode what is published."""
    steps = []
    for batch in batches:
        step = worker.step(state, batch)
        for emit in step.emits:
            encode(emit, "/flc/privacy/0")
        steps.append(step)
    return steps


def counted(metrics: Metrics, batches: Sequence[Sequence[Record]], steps: Sequence[Step]) -> None:
    """Count every step, as the runtime does."""
    for batch, step in zip(batches, steps, strict=True):
        metrics.committed(Privacy.name)
        metrics.handled(Privacy.name, batch, step)
        metrics.batch_duration.labels(Privacy.name).observe(0.01)
        metrics.record_age.labels(Privacy.name).observe(0.01)
