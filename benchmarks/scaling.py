"""The measured costs carried to federations that no machine at hand can hold: what they take, what breaks."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil, inf
from typing import Any

from workers.settings import Settings

#: What is assumed: the defaults of the settings and of topics.yaml, and machines as they are rented.
SYNCHRONIZATION_S: float = Settings.model_fields["sync_window_s"].default
COLLECTION_S: float = Settings.model_fields["collection_deadline_ms"].default / 1e3
ACKNOWLEDGEMENT_S: float = Settings.model_fields["acknowledgement_deadline_ms"].default / 1e3
TRANSACTION_S: float = Settings.model_fields["session_timeout_ms"].default / 1e3
WAIT_S: float = Settings.model_fields["wait_timeout_s"].default
HEARTBEAT_S = 30
UPDATE_MS_AN_INSTANCE = 1
PARTITIONS, MOST_PARTITIONS = 6, 16
RETENTION_S = 14 * 86_400
REPLICAS = 3
PROCESS_GB = 4.0
BROKER_TB = 2.0
BROKER_MB_S = 50.0

#: Workers whose work for one federation is one process.
PHASES = ("collection", "validation", "consensus", "detection", "distribution", "verification")

#: Event types of the reports' own way: kept for two weeks. All others are small or kept for a day or two.
KEPT = ("PatternReport", "Contribution", "RoundBarrier", "Admission")

MICRO = 1e6


@dataclass(frozen=True, slots=True)
class Costs:
    """What was measured, in base units."""

    #: By worker, an instance: CPU seconds of a synchronization, and of a second in which nothing is sent.
    cpu_s: Mapping[str, float]
    idle_s: Mapping[str, float]
    #: Memory of an instance, and what a process has without any.
    memory_gb: Mapping[str, float]
    base_gb: Mapping[str, float]
    heartbeat_s: float
    #: Seconds of a synchronization of hardly anybody: its hops, one after the other.
    hops_s: float
    #: By event type, an instance; of barriers those of one partition.
    records: Mapping[str, float]
    size_bytes: Mapping[str, float]
    patterns: int
    state_bytes_a_cell: float
    changelog_bytes_a_cell: float
    changelog_share: float
    restore_factor: float
    restore_bytes_s: float

    @property
    def health_cores(self) -> float:
        """Cores that an instance takes of the health workers, whether it reports or not."""
        return self.heartbeat_s / HEARTBEAT_S + self.idle_s["health"]

    @classmethod
    def of(cls, figures: Mapping[str, Any]) -> "Costs":
        """Return the costs in a document; raises KeyError if one was not measured."""
        costs = figures["costs"]
        instances, partitions = costs["instances"], costs["partitions"]
        share = {"RoundBarrier": partitions}
        return cls(
            cpu_s=_scaled(costs["cpu_microseconds_an_instance"], 1 / MICRO),
            idle_s=_scaled(costs["idle_cpu_microseconds_an_instance"], 1 / MICRO),
            memory_gb=_scaled(costs["memory_bytes_an_instance"], 1e-9),
            base_gb=_scaled(costs["base_mb"], 1e-3),
            heartbeat_s=figures["costs heartbeat"]["cpu_microseconds"] / MICRO,
            hops_s=figures["P4"]["milliseconds"] / 1e3,
            records={kind: one / instances / share.get(kind, 1) for kind, one in costs["records"].items()},
            size_bytes={kind: one / instances / share.get(kind, 1) for kind, one in costs["bytes"].items()},
            patterns=costs["patterns"],
            state_bytes_a_cell=figures["P5"]["ratio"],
            changelog_bytes_a_cell=figures["P5"]["changelog_bytes_a_cell"],
            changelog_share=figures["P5b"]["ratio"],
            restore_factor=figures["P5b restore"]["ratio"],
            restore_bytes_s=figures["P7"]["megabytes_a_second"]["restore"] * 1e6,
        )


@dataclass(frozen=True, slots=True)
class Federation:
    """What a federation of some size takes."""

    costs: Costs
    instances: int

    @property
    def partitions(self) -> int:
        """As many as privacy, health or aggregation need processes, within what a topic may have."""
        return min(
            MOST_PARTITIONS, max(PARTITIONS, *map(self.processes, ("privacy", "health", "aggregation")))
        )

    def processes(self, worker: str) -> int:
        """Of a worker: for its share of the CPU in a deadline or a second; a phase is always one."""
        if worker in PHASES:
            return 1
        return max(1, ceil(self.cores(worker)))

    def cores(self, worker: str) -> float:
        """Cores of a worker that is done with its part of a synchronization when the collection ends."""
        if worker == "health":
            return self.instances * self.costs.health_cores
        return self.instances * self.costs.cpu_s[worker] / COLLECTION_S

    def of_round(self, each: Mapping[str, float]) -> float:
        """Return the sum over event types, barriers in every partition."""
        return self.instances * sum(
            value * (self.partitions if kind == "RoundBarrier" else 1) for kind, value in each.items()
        )

    @property
    def kept_tb(self) -> float:
        """Replicated log of reports, and what follows from them."""
        kept = self.of_round({kind: self.costs.size_bytes.get(kind, 0.0) for kind in KEPT})
        return kept * (1 + self.costs.changelog_share) * RETENTION_S / SYNCHRONIZATION_S * REPLICAS / 1e12

    @property
    def brokers(self) -> int:
        """As many as disks, the rate of a collection, and the replicas ask for."""
        rate = self.of_round(self.costs.size_bytes) * REPLICAS / self.phases_s / 1e6
        return max(REPLICAS, ceil(self.kept_tb / BROKER_TB), ceil(rate / BROKER_MB_S))

    @property
    def phases_s(self) -> float:
        """Seconds of a synchronization: its hops, reports judged by all processes, then phase after phase."""
        shared = sum(
            self.instances * self.costs.cpu_s[worker] / min(self.processes(worker), self.partitions)
            for worker in ("privacy", "aggregation")
        )
        return self.costs.hops_s + shared + sum(self.instances * self.costs.cpu_s[phase] for phase in PHASES)

    @property
    def state_gb(self) -> float:
        """Aggregation state of all partitions."""
        return self.instances * self.costs.patterns * self.costs.state_bytes_a_cell / 1e9

    @property
    def phase_gb(self) -> float:
        """The largest of the processes of the phases."""
        return max(self.costs.base_gb[one] + self.instances * self.costs.memory_gb[one] for one in PHASES)

    @property
    def restore_s(self) -> float:
        """Seconds until a new process has the state of one partition."""
        cells = self.instances * self.costs.patterns / self.partitions
        read = cells * self.costs.changelog_bytes_a_cell * self.costs.restore_factor
        return read / self.costs.restore_bytes_s


@dataclass(frozen=True, slots=True)
class Limit:
    """The number of instances from which something no longer holds, and what is done about it."""

    instances: float
    what: str
    then: str


def limits(costs: Costs) -> list[Limit]:
    """Return what breaks, first things first."""
    largest = max(PHASES, key=lambda phase: costs.memory_gb[phase])
    phases = sum(costs.cpu_s[phase] for phase in PHASES)
    a_cell = costs.patterns * costs.state_bytes_a_cell / 1e9
    privacy = costs.cpu_s["privacy"]
    found = [
        Limit(
            _until(COLLECTION_S, privacy),
            f"one privacy process does not judge all reports within the collection ({COLLECTION_S:.0f} s): "
            "who comes late is a straggler, in with its last report",
            "more privacy processes; a longer `FLC_COLLECTION_DEADLINE_MS`",
        ),
        Limit(
            _until(COLLECTION_S * MOST_PARTITIONS, privacy),
            f"{MOST_PARTITIONS} privacy processes do not, and there cannot be more",
            "a longer `FLC_COLLECTION_DEADLINE_MS`: a synchronization an hour can collect for minutes",
        ),
        Limit(
            _until(ACKNOWLEDGEMENT_S, costs.cpu_s["distribution"]),
            f"not all acknowledgements are counted in {ACKNOWLEDGEMENT_S:.0f} s: a warning in the result",
            "a longer `FLC_ACKNOWLEDGEMENT_DEADLINE_MS`",
        ),
        Limit(
            _until(WAIT_S * 1e3, UPDATE_MS_AN_INSTANCE),
            f"updates come less often than a client waits for one ({WAIT_S:.0f} s): it is told of "
            "a time-out, although its report is in",
            "a longer `FLC_WAIT_TIMEOUT_S` for clients, or synchronizations alone",
        ),
        Limit(
            _until(1.0, costs.health_cores),
            f"one health process does not keep up with a heartbeat every {HEARTBEAT_S} s",
            "more health processes",
        ),
        Limit(
            _until(MOST_PARTITIONS, costs.health_cores),
            f"{MOST_PARTITIONS} health processes do not, and there cannot be more",
            "a `heartbeat_period_s` of 60; several federations do not help, for they share the partitions: "
            "another cluster",
        ),
        Limit(
            _until(TRANSACTION_S, costs.cpu_s["consensus"]),
            f"consensus, which names everybody in every partition in one transaction, takes longer than "
            f"{TRANSACTION_S:.0f} s for it: it is aborted, again and again",
            "a longer `FLC_SESSION_TIMEOUT_MS`; then several federations",
        ),
        Limit(
            _until(PROCESS_GB - costs.base_gb[largest], costs.memory_gb[largest]),
            f"{largest} needs more than {PROCESS_GB:.0f} GB",
            "a larger machine for this one process; then several federations",
        ),
        Limit(
            _until(PROCESS_GB * PARTITIONS, a_cell),
            f"a partition of the aggregation state, one of {PARTITIONS}, needs more than {PROCESS_GB:.0f} GB",
            f"{MOST_PARTITIONS} partitions, or more memory",
        ),
        Limit(
            _until(SYNCHRONIZATION_S, phases),
            f"the phases take longer than the {SYNCHRONIZATION_S / 3600:.0f} h to the next synchronization",
            "a longer `FLC_SYNC_WINDOW_S`; then several federations",
        ),
    ]
    return sorted((one for one in found if one.instances < inf), key=lambda limit: limit.instances)


def _until(there: float, each: float) -> float:
    """Return the instances for which something is enough; infinity for those that take nothing of it."""
    return there / each if each else inf


def _scaled(values: Mapping[str, float], factor: float) -> dict[str, float]:
    return {name: value * factor for name, value in values.items()}
