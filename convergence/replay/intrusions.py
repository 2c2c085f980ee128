"""Records between workers that none of them wrote: each has a dead letter, and nothing else there has one."""

from collections.abc import Mapping, Sequence

from convergence.replay.contributions import entries_of
from convergence.replay.findings import Comparison, Difference, DifferentError
from convergence.replay.letters import STAGES, Letter, Source
from convergence.replay.log import Log, Record, Stands, event_of, event_type
from schemas.health import InstanceHealth
from schemas.knowledge import AggregatedPattern
from schemas.reasons import Reason
from schemas.reports import Contribution


def examine(log: Log, letters: Mapping[Source, Sequence[Letter]], comparison: Comparison) -> None:
    """Read every record between workers; raises DifferentError."""
    for source, records in log.records.items():
        if source[0] in STAGES:
            continue
        refused = [letter for letter in letters.get(source, ()) if letter.reason is not Reason.CORRUPT_BATCH]
        for record in records:
            own = next((each for each in refused if each.first <= record.offset <= each.last), None)
            taken = _is_taken(record)
            if own is not None and own.count == 1 and taken:
                raise DifferentError(Difference(str(own.stands), own.reason, None))
            if own is None and not taken and record.append_ms <= log.settled_ms:
                where = f"{event_type(record)} at {record.topic}/{record.partition}/{record.offset}"
                raise DifferentError(Difference(where, "no event", None))
            comparison.compared += 1
        offsets = {record.offset for record in records}
        for letter in refused:
            if letter.first >= log.start(*source) and letter.first not in offsets:
                raise DifferentError(Difference(str(letter.stands), letter.reason, None))


def _is_taken(record: Record) -> bool:
    """Tell whether the record is what a worker may have written there."""
    key = (record.key or b"").decode("ascii", "replace")
    if record.value is None:
        return record.topic in {AggregatedPattern.topic, InstanceHealth.topic} and "/" in key
    event = event_of(record)
    if isinstance(event, Contribution):
        return entries_of(Stands(event, record)) is not None
    if isinstance(event, InstanceHealth):
        return key == f"{event.federation}/{event.instance_id}"
    return event is not None
