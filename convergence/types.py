"""What the API takes and gives: plain data, built by keyword, each with ``to_dict`` for JSON.

Scores are in [0, 1]. In process they are exact micro-units (six decimals); from the bus they have the public
precision: four decimals of the federation, two of an instance. Times are aware datetimes in UTC.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from enum import Enum
from typing import Any


def now() -> datetime:
    """Return the time, in UTC."""
    return datetime.now(UTC)


def at(unix_ms: int) -> datetime:
    """Return a Unix time in ms as a datetime in UTC."""
    return datetime.fromtimestamp(unix_ms / 1000, UTC)


class InstanceStatus(Enum):
    """The life of an instance: degraded after three silent periods, inactive after the heartbeat time-out."""

    ACTIVE = "active"
    INACTIVE = "inactive"
    DEGRADED = "degraded"
    UNKNOWN = "unknown"


class PatternQuality(Enum):
    """How good a pattern is.

    High: certainty of at least 0.9 and strength of at least 0.7. Medium: certainty of at least the minimum
    and strength of at least 0.5. Low: whatever else passes the gates. Invalid: what does not.
    """

    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"
    INVALID = "invalid"


class _Data:
    """Gives a dataclass its ``to_dict``."""

    __slots__ = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as JSON has them: enums by value, times in ISO 8601, nested data as dicts."""
        return {each.name: _plain(getattr(self, each.name)) for each in fields(self)}  # type: ignore[arg-type]


def _plain(value: Any) -> Any:
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, _Data):
        return value.to_dict()
    if isinstance(value, Mapping):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return value


@dataclass(slots=True)
class InstanceMetadata(_Data):
    """A registered instance.

    ``metadata["organisation"]`` names who owns it; without it, the instance is its own organisation.
    """

    instance_id: str
    instance_name: str
    deployment_region: str
    registered_at: datetime = field(default_factory=now)
    #: The last sign of life, a report too; None: never seen.
    last_heartbeat: datetime | None = None
    status: InstanceStatus = InstanceStatus.ACTIVE
    #: Heartbeats received / expected. In process nobody expects any: it is what you set.
    reliability_score: float = 1.0
    #: Well-formed share of the rows of the last 20 reports; being below the gates is no defect.
    data_quality_score: float = 1.0
    #: Accepted patterns of the last report.
    pattern_count: int = 0
    #: Patterns reported so far.
    total_requests: int = 0
    metadata: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class PatternSignature(_Data):
    """A pattern, anonymised: what it is made of is hidden in ``signature_id`` (32 hex digits).

    Modules and event types are part of that identity; their own lists stay empty.
    """

    signature_id: str
    pattern_type: str
    strength: float
    resonance: float
    frequency: int
    module_signatures: list[str]
    event_type_signatures: list[str]
    epistemic_certainty: float
    quality: PatternQuality
    instance_id: str
    created_at: datetime = field(default_factory=now)


@dataclass(slots=True)
class AggregatedPattern(_Data):
    """A pattern as its contributors have it together; averages are weighted."""

    pattern_id: str
    pattern_type: str
    aggregated_signature: PatternSignature
    #: Filled in process only: the bus tells nobody who holds a pattern.
    contributing_instances: list[str]
    instance_count: int
    total_frequency: int
    average_strength: float
    average_resonance: float
    average_epistemic_certainty: float
    #: Agreement of the contributors on strength and resonance.
    consensus_score: float
    aggregated_at: datetime = field(default_factory=now)


@dataclass(slots=True)
class ConvergenceResult(_Data):
    """What became of a report: the scores of its instance, and of the federation with it."""

    #: Mean of the instance's coverage of the library, quality and participation.
    convergence_score: float
    #: Mean emergence of the instance's patterns in the library.
    emergence_score: float
    #: Patterns in the library.
    patterns_aggregated: int
    #: Instances in the cohort.
    instances_contributing: int
    #: Of the federation.
    pattern_alignment: float
    #: Of the federation.
    global_emergence_factor: float
    timestamp: datetime = field(default_factory=now)
    #: instance_id, patterns_received, patterns_validated, filtered {reason: patterns}, and outcome: included,
    #: or why the report did not count.
    metadata: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class InstanceScores(_Data):
    """The scores of one instance; ``metadata["alignment"]`` is its alignment with the others."""

    instance_id: str
    convergence_score: float
    emergence_score: float
    #: Mean resonance of its patterns.
    resonance_score: float
    #: Mean of convergence and emergence.
    unified_score: float
    pattern_count: int
    timestamp: datetime = field(default_factory=now)
    metadata: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class GlobalConvergenceScore(_Data):
    """The scores of the federation; all zero for an empty one."""

    #: 0.5 weighted mean + 0.3 alignment + 0.2 emergence.
    global_convergence: float
    instance_count: int
    pattern_alignment: float
    global_emergence: float
    #: Weighted population variance of the unified scores.
    convergence_variance: float
    #: Unweighted mean of the unified scores; decides nothing.
    mean_convergence: float
    weighted_mean_convergence: float
    timestamp: datetime = field(default_factory=now)
    instance_scores: list[InstanceScores] = field(default_factory=list)


@dataclass(slots=True)
class SynchronizationResult(_Data):
    """What a synchronization came to."""

    #: The global convergence.
    convergence_score: float
    #: Instances in the cohort.
    instances_synced: int
    #: Patterns in the library.
    patterns_aggregated: int
    #: Every criterion is met.
    convergence_achieved: bool
    next_sync_window: datetime
    sync_duration_ms: float
    #: Why there is no result; empty if there is one.
    errors: list[str] = field(default_factory=list)
    #: What did not work on the way.
    warnings: list[str] = field(default_factory=list)
    timestamp: datetime = field(default_factory=now)
