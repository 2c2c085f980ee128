"""What of all that is published goes into the log: a line for what an operator asks about, by its event."""

from typing import Any

from schemas.convergence import RoundAbandoned, SynchronizationCompleted
from schemas.dead_letters import DeadLetter
from schemas.event import Event


def notable(event: Event | DeadLetter | None) -> tuple[str, dict[str, Any]] | None:
    """Return the name of the line and its fields, or None; of a result in parts the last part says it.

    Updates are not among them: there are two a second. Of a record that was refused nothing is told that it
    holds but the federation.
    """
    if isinstance(event, DeadLetter):
        return "record.refused", {
            "reason": event.reason,
            "federation": event.federation,
            "topic": event.source_topic,
            "offset": event.source_offset,
            "count": event.count,
        }
    if isinstance(event, RoundAbandoned):
        return "round.abandoned", {
            "round_id": event.round_id,
            "phase": event.phase,
            "reason": event.reason,
            "instances": event.instance_count,
            "min_instances": event.min_instances,
            "dropped": event.dropped,
        }
    if isinstance(event, SynchronizationCompleted) and event.part == event.parts - 1:
        return "round.completed", {
            "round_id": event.round_id,
            "converged": event.convergence_achieved,
            "convergence": event.global_convergence,
            "alignment": event.pattern_alignment,
            "instances": event.instance_count,
            "duration_ms": event.sync_duration_ms,
        }
    return None
