"""What the federation knows together: in every bucket, what each synchronization had to write.

The topic is compacted, so some of it may be gone; what is there must be of it, in its order, and the last
word on every key must be there.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from convergence.replay.assembly import Round
from convergence.replay.findings import (
    Comparison,
    Difference,
    DifferentError,
    UnderWayError,
    first_difference,
)
from convergence.replay.log import Log, Record, event_of
from convergence.replay.reference import Facts
from schemas.knowledge import AggregatedPattern, KnowledgeMark
from schemas.rounds import ReleaseCounts

#: So many emerged patterns of a bucket are named.
MAX_EMERGED_IDS = 100


@dataclass(frozen=True)
class Written:
    """A record that had to be written; ``event`` None is a tombstone."""

    key: str
    event: AggregatedPattern | KnowledgeMark | None
    one: Round
    append_ms: int


@dataclass
class Ledger:
    """One bucket of one federation: what was released, and everything that had to be written of it."""

    #: Signature -> what is known of it; None: it was released once and is withdrawn.
    released: dict[str, Facts | None] = field(default_factory=dict)
    written: list[Written] = field(default_factory=list)

    def release(
        self, one: Round, bucket: int, releases: Mapping[str, Facts], distinct: int, barrier_ms: int
    ) -> ReleaseCounts:
        """Take the releases of a synchronization in; return what its partial says of them."""
        emerged = sorted(signature for signature in releases if signature not in self.released)
        for signature, facts in sorted(releases.items()):
            if self.released.get(signature) != facts:
                self.released[signature] = facts
                event = _pattern(one, signature, facts, barrier_ms)
                self.written.append(Written(f"{one.federation}/{signature}", event, one, barrier_ms))
        for signature, before in sorted(self.released.items()):
            if before is not None and signature not in releases:
                self.released[signature] = None
                self.written.append(Written(f"{one.federation}/{signature}", None, one, barrier_ms))
        mark = KnowledgeMark(
            federation=one.federation,
            round_id=one.round_id,
            number=one.number,
            bucket=bucket,
            patterns=len(releases),
        )
        self.written.append(Written(f"mark/{one.federation}", mark, one, barrier_ms))
        return ReleaseCounts(
            released=len(releases),
            withheld=distinct - len(releases),
            emerged=len(emerged),
            emerged_ids=tuple(emerged[:MAX_EMERGED_IDS]),
        )


def _pattern(one: Round, signature: str, facts: Facts, barrier_ms: int) -> AggregatedPattern:
    strength, resonance, certainty, consensus = (value / 100 for value in facts["hundredths"])
    return AggregatedPattern(
        federation=one.federation,
        pattern_id=signature,
        pattern_type=facts["pattern_type"],
        organisation_count=facts["organisation_count"],
        instance_count=facts["instance_count"],
        total_frequency=facts["total_frequency"],
        average_strength=strength,
        average_resonance=resonance,
        average_epistemic_certainty=certainty,
        consensus_score=consensus,
        round_id=one.round_id,
        number=one.number,
        aggregated_at=barrier_ms,
    )


def examine(log: Log, federation: str, bucket: int, ledger: Ledger, comparison: Comparison) -> None:
    """Hold a bucket of the knowledge against its ledger.

    Raises DifferentError; UnderWayError if what is missing may still be written.
    """
    place = 0
    last = {written.key: index for index, written in enumerate(ledger.written)}
    for record in _of(log, federation, bucket):
        where = f"knowledge at {record.topic}/{record.partition}/{record.offset}"
        key, event = (record.key or b"").decode(), event_of(record)
        if event is None and record.value is not None:
            raise DifferentError(Difference(f"{where} ({key})", "no event", None))
        # Compaction may have removed what stands between this one and the one before.
        following = range(place, len(ledger.written))
        index = next((each for each in following if _is(ledger.written[each], key, event)), None)
        if index is None:
            raise _difference(where, key, event, ledger.written[place:])
        skipped = [each for each in range(place, index) if last[ledger.written[each].key] == each]
        for each in skipped:
            _missing(where, ledger.written[each])
        comparison.compared += 1
        place = index + 1
    for each in range(place, len(ledger.written)):
        written = ledger.written[each]
        if last[written.key] == each:
            if written.append_ms > log.settled_ms or not written.one.ended:
                raise UnderWayError(f"the knowledge of {written.one.round_id} is not all there yet")
            _missing(f"knowledge of {federation} in bucket {bucket}", written)


def _of(log: Log, federation: str, bucket: int) -> Iterator[Record]:
    keys = (f"{federation}/".encode(), f"mark/{federation}".encode())
    for record in log.records.get((AggregatedPattern.topic, bucket), ()):
        key = record.key or b""
        if key.startswith(keys[0]) or key == keys[1]:
            yield record


def _is(written: Written, key: str, event: object) -> bool:
    return (written.key, written.event) == (key, event)


def _missing(where: str, written: Written) -> None:
    """Raise DifferentError: the last word on a key is not there. A tombstone may be gone like its key."""
    if written.event is not None:
        raise DifferentError(Difference(f"{where}: {written.key} of {written.one.round_id}", None, "written"))


def _difference(where: str, key: str, event: Any, written: list[Written]) -> DifferentError:
    """Return the difference to what had to be written of the key, as near as it gets."""
    own = next((each.event for each in written if each.key == key), None)
    ours = None if own is None else own.model_dump(mode="json")
    theirs = None if event is None else event.model_dump(mode="json")
    found = first_difference(f"{where} ({key})", theirs, ours)
    return DifferentError(found or Difference(f"{where} ({key})", theirs, None))
