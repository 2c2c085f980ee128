"""Every event of the contract by its type, which is the name of its class."""

from schemas.aggregation import PartialAggregate, RoundBarrier
from schemas.commands import SynchronizationRequested
from schemas.convergence import (
    ConvergenceUpdated,
    KnowledgeAnnounced,
    PatternEmerged,
    RoundAbandoned,
    SynchronizationAnnounced,
    SynchronizationCompleted,
)
from schemas.dead_letters import DeadLetter
from schemas.event import Event
from schemas.health import InstanceHealth
from schemas.instances import Heartbeat, InstanceDeregistered, InstanceRegistered
from schemas.knowledge import AggregatedPattern, KnowledgeAcknowledged, KnowledgeMark
from schemas.reports import Admission, Contribution, PatternReport
from schemas.rounds import (
    AggregationCompleted,
    CollectionCompleted,
    DetectionCompleted,
    DistributionCompleted,
    ValidationCompleted,
)

EVENTS: dict[str, type[Event | DeadLetter]] = {
    event.__name__: event
    for event in (
        InstanceRegistered,
        InstanceDeregistered,
        Heartbeat,
        PatternReport,
        Admission,
        Contribution,
        RoundBarrier,
        PartialAggregate,
        InstanceHealth,
        SynchronizationRequested,
        CollectionCompleted,
        ValidationCompleted,
        AggregationCompleted,
        DetectionCompleted,
        DistributionCompleted,
        AggregatedPattern,
        KnowledgeMark,
        KnowledgeAcknowledged,
        ConvergenceUpdated,
        SynchronizationAnnounced,
        KnowledgeAnnounced,
        SynchronizationCompleted,
        RoundAbandoned,
        PatternEmerged,
        DeadLetter,
    )
}
