"""The one registry of metrics. Base units, bounded labels, prefix ``flc_``."""

from collections import Counter as Counts
from collections.abc import Iterable, Sequence
from typing import Any

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    disable_created_metrics,
    generate_latest,
)

from schemas.dead_letters import DeadLetter
from schemas.reasons import Reason
from workers.fold import Outcome, Record, Step, Worker
from workers.runtime.federation_metrics import SECONDS, FederationMetrics
from workers.runtime.port import TopicPartition
from workers.version import code_version

# The library would tell of every counter when it was made: twice as many series, which nobody reads.
disable_created_metrics()  # type: ignore[no-untyped-call]


class Metrics:
    """What a process counts; each process (and each test) has its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        Info("flc_build", "The code that runs.", registry=self.registry).info({"version": code_version()})
        self.records_read = Counter(
            "flc_records_read_total", "Records read, by topic.", ["worker", "topic"], registry=self.registry
        )
        self.records_handled = Counter(
            "flc_records_handled_total",
            "Records settled; over all outcomes as many as were read, but for what waits.",
            ["worker", "topic", "outcome"],
            registry=self.registry,
        )
        self.rows = Counter(
            "flc_rows_total", "Rows of reports.", ["outcome", "reason"], registry=self.registry
        )
        self.emitted = Counter(
            "flc_events_emitted_total", "Events published.", ["worker", "type"], registry=self.registry
        )
        self.dead_letters = Counter(
            "flc_dead_letters_total",
            "Records refused to a dead letter.",
            ["worker", "reason"],
            registry=self.registry,
        )
        self.batch_duration = Histogram(
            "flc_batch_duration_seconds",
            "From a batch taken to its commit.",
            ["worker"],
            buckets=SECONDS,
            registry=self.registry,
        )
        self.record_age = Histogram(
            "flc_record_age_seconds",
            "From a record's append to the commit of its batch, the oldest of each batch.",
            ["worker"],
            buckets=SECONDS,
            registry=self.registry,
        )
        self.transactions = Counter(
            "flc_transactions_total",
            "Transactions by outcome: committed, or unknown.",
            ["worker", "outcome"],
            registry=self.registry,
        )
        self.restore_duration = Histogram(
            "flc_restore_duration_seconds",
            "From a producer started to the state restored.",
            ["worker"],
            buckets=SECONDS,
            registry=self.registry,
        )
        self.task_failures = Counter(
            "flc_task_failures_total",
            "Partition tasks that failed.",
            ["worker", "error"],
            registry=self.registry,
        )
        self.rebalances = Counter(
            "flc_rebalances_total", "Assignments received.", ["group"], registry=self.registry
        )
        self.last_poll = Gauge(
            "flc_last_poll_timestamp_seconds", "Last poll of the group.", ["group"], registry=self.registry
        )
        self.lag = Gauge(
            "flc_consumer_lag",
            "Records behind the last stable offset, assigned partitions only.",
            ["group", "topic", "partition"],
            registry=self.registry,
        )
        self.federations = FederationMetrics(self.registry)
        self._lagging: dict[str, set[tuple[str, int]]] = {}

    def start(self, kind: type[Worker[Any]]) -> None:
        """Let the counters of a worker start at 0, so that their first increase is one."""
        for topic in kind.inputs:
            self.records_read.labels(kind.name, topic)
            for outcome in Outcome:
                self.records_handled.labels(kind.name, topic, outcome.value)
        for reason in Reason:
            self.dead_letters.labels(kind.name, reason.value)
        for result in ("committed", "unknown"):
            self.transactions.labels(kind.name, result)
        self.rebalances.labels(kind.name)

    def committed(self, worker: str) -> None:
        """Count a committed transaction."""
        self.transactions.labels(worker, "committed").inc()

    def handled(self, worker: str, records: Sequence[Record], step: Step) -> None:
        """Count a step, with its commit or before it: a step that publishes nothing is committed later.

        If its task is rebuilt in between, its records are read again, and counted again.
        """
        for topic, count in Counts(record.topic for record in records).items():
            self.records_read.labels(worker, topic).inc(count)
        for (topic, outcome), count in step.handled.items():
            self.records_handled.labels(worker, topic, outcome.value).inc(count)
        for (result, reason), count in step.rows.items():
            self.rows.labels(result, reason).inc(count)
        for emit in step.emits:
            name = "tombstone" if emit.event is None else type(emit.event).__name__
            self.emitted.labels(worker, name).inc()
            self.federations.published(emit.event)
            if isinstance(emit.event, DeadLetter):
                self.dead_letters.labels(worker, emit.event.reason.value).inc(emit.event.count)

    def lags(self, group: str, lags: Iterable[tuple[TopicPartition, int]]) -> None:
        """Set the lag of what is assigned now; the series of everything else goes away."""
        before, now = self._lagging.get(group, set()), set()
        for (topic, partition), lag in lags:
            self.lag.labels(group, topic, str(partition)).set(lag)
            now.add((topic, partition))
        for topic, partition in before - now:
            self.lag.remove(group, topic, str(partition))
        self._lagging[group] = now

    def exposition(self) -> bytes:
        """Return all in the text format of Prometheus."""
        return generate_latest(self.registry)
