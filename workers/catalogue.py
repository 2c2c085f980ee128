"""The nine workers by name."""

from typing import Any

from workers.aggregation import Aggregation
from workers.collection import Collection
from workers.consensus import Consensus
from workers.detection import Detection
from workers.distribution import Distribution
from workers.fold import Worker
from workers.health import Health
from workers.privacy import Privacy
from workers.validation import Validation
from workers.verification import Verification

#: In the order in which a report passes them.
WORKERS: dict[str, type[Worker[Any]]] = {
    worker.name: worker
    for worker in (
        Privacy,
        Health,
        Collection,
        Validation,
        Consensus,
        Aggregation,
        Detection,
        Distribution,
        Verification,
    )
}
