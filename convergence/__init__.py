"""A federation for its users: publish what an instance learned, see what all of them learn together.

Everything is imported when it is first used, so that importing the package costs next to nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from convergence.covers import Update
    from convergence.deployment import Deployment
    from convergence.errors import (
        ConvergenceError,
        InvalidInstance,
        NotCovered,
        NotEnrolled,
        NotRegistered,
        NotSynchronized,
        PatternError,
        TooManyPatterns,
    )
    from convergence.federated_learning import FederatedLearningConvergence
    from convergence.global_scoring import GlobalScoringAggregator
    from convergence.instances import list_instances, show_instance
    from convergence.integration import FederatedConvergenceIntegration
    from convergence.keys import Keys
    from convergence.knowledge import Knowledge, KnowledgeSnapshot
    from convergence.operator import Operator
    from convergence.orchestrators import Orchestrators
    from convergence.patterns import LineError, Pattern, read_lines
    from convergence.registrations import registration_document
    from convergence.rounds import RoundRecord, list_rounds, show_round
    from convergence.singleton import get_federated_convergence_integration
    from convergence.subscription import Subscription, subscribe
    from convergence.synchronization_protocol import LearningSynchronizationProtocol
    from convergence.types import (
        AggregatedPattern,
        ConvergenceResult,
        GlobalConvergenceScore,
        InstanceMetadata,
        InstanceScores,
        InstanceStatus,
        PatternQuality,
        PatternSignature,
        SynchronizationResult,
    )

_MODULES = {
    "Update": "covers",
    "Deployment": "deployment",
    "ConvergenceError": "errors",
    "InvalidInstance": "errors",
    "NotCovered": "errors",
    "NotEnrolled": "errors",
    "NotRegistered": "errors",
    "NotSynchronized": "errors",
    "PatternError": "errors",
    "TooManyPatterns": "errors",
    "FederatedLearningConvergence": "federated_learning",
    "GlobalScoringAggregator": "global_scoring",
    "list_instances": "instances",
    "show_instance": "instances",
    "FederatedConvergenceIntegration": "integration",
    "Keys": "keys",
    "Knowledge": "knowledge",
    "KnowledgeSnapshot": "knowledge",
    "Operator": "operator",
    "Orchestrators": "orchestrators",
    "LineError": "patterns",
    "Pattern": "patterns",
    "read_lines": "patterns",
    "registration_document": "registrations",
    "RoundRecord": "rounds",
    "list_rounds": "rounds",
    "show_round": "rounds",
    "get_federated_convergence_integration": "singleton",
    "Subscription": "subscription",
    "subscribe": "subscription",
    "LearningSynchronizationProtocol": "synchronization_protocol",
    "AggregatedPattern": "types",
    "ConvergenceResult": "types",
    "GlobalConvergenceScore": "types",
    "InstanceMetadata": "types",
    "InstanceScores": "types",
    "InstanceStatus": "types",
    "PatternQuality": "types",
    "PatternSignature": "types",
    "SynchronizationResult": "types",
}

__all__ = [
    "AggregatedPattern",
    "ConvergenceError",
    "ConvergenceResult",
    "Deployment",
    "FederatedConvergenceIntegration",
    "FederatedLearningConvergence",
    "GlobalConvergenceScore",
    "GlobalScoringAggregator",
    "InstanceMetadata",
    "InstanceScores",
    "InstanceStatus",
    "InvalidInstance",
    "Keys",
    "Knowledge",
    "KnowledgeSnapshot",
    "LearningSynchronizationProtocol",
    "LineError",
    "NotCovered",
    "NotEnrolled",
    "NotRegistered",
    "NotSynchronized",
    "Operator",
    "Orchestrators",
    "Pattern",
    "PatternError",
    "PatternQuality",
    "PatternSignature",
    "RoundRecord",
    "Subscription",
    "SynchronizationResult",
    "TooManyPatterns",
    "Update",
    "get_federated_convergence_integration",
    "list_instances",
    "list_rounds",
    "read_lines",
    "registration_document",
    "show_instance",
    "show_round",
    "subscribe",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"convergence.{_MODULES[name]}"), name)
    globals()[name] = value
    return value


def module_of(name: str) -> str:
    """Return the module of this package that an exported name comes from."""
    return _MODULES[name]
