"""Check 8: every task's state, restored from its changelog as after a crash, against the reference.

The reference is the replay where it computes a state (what was judged, contributed, released, covered), the
last word on a topic where a state repeats one, and nothing at all where everything has been answered.
"""

import struct
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from convergence.replay.log import event_of
from schemas.aggregation import RoundBarrier
from schemas.health import InstanceHealth
from schemas.instances import InstanceRegistered
from schemas.partitioning import key_partition
from schemas.reasons import Reason
from schemas.reports import PatternReport
from schemas.rounds import (
    AggregationCompleted,
    CollectionCompleted,
    DetectionCompleted,
    DistributionCompleted,
    HandOver,
    RoundKind,
    ValidationCompleted,
)
from schemas.topics import Topics
from tests.faults.checks import Check, Replayed, events
from workers.aggregation_state import Held
from workers.catalogue import WORKERS
from workers.fold import Context, State
from workers.letter_cap import capped
from workers.runtime.clock import SystemClock
from workers.runtime.failures import Fatal
from workers.runtime.port import Bus, TopicPartition
from workers.runtime.restore import Restore
from workers.settings import Settings

#: Tables of what has not been answered yet: after the drain there is nothing.
UNANSWERED = ("parts", "cut", "partials", "waiting", "detected", "awaited", "late", "unanswered", "absent")

#: How a task's rows are packed: signature, strength, resonance, certainty, frequency, code of the word.
_ROW = struct.Struct("<16s4iH")

#: What a worker takes in, in parts, round by round.
TAKEN_IN: dict[str, type[RoundBarrier | HandOver]] = {
    "aggregation": RoundBarrier,
    "validation": CollectionCompleted,
    "consensus": ValidationCompleted,
    "detection": AggregationCompleted,
    "distribution": DetectionCompleted,
    "verification": DistributionCompleted,
}

#: A topic that is partitioned by federation, as all of the phases.
PARTITIONED = InstanceHealth.topic

#: (federation, key of the table) -> row.
Rows = Mapping[Any, Any]


async def restored(bus: Bus, topics: Topics, settings: Settings, replayed: Replayed) -> Check:
    """Restore every task and compare it."""
    check = Check(8)
    partitions = {name: topic.partitions for name, topic in topics.declared.items()}
    for name, kind in WORKERS.items():
        changelog = topics.changelog(name, kind.inputs)
        for number in range(changelog.partitions):
            worker = capped(kind)(Context(number, partitions, settings))
            at = TopicPartition(changelog.name, number)
            limit_s = settings.session_timeout_ms / 1000
            where = f"{name}/{number}"
            try:
                state = (await Restore(bus, SystemClock(), worker, at, limit_s, lambda: None).run()).state
            except (Fatal, LookupError) as error:
                check.problems.append(f"{where} cannot be restored: {error}")
                continue
            for table in UNANSWERED:
                if table in state.tables:
                    check.equal(f"{where}: {table}", sorted(rows(state, table)), [])
            for table, (ours, theirs) in _expected(name, replayed, number, state).items():
                for key in sorted(ours.keys() | theirs.keys()):
                    check.equal(f"{where}: {table} of {'/'.join(key)}", ours.get(key), theirs.get(key))
    return check


def rows(state: State, table: str) -> dict[tuple[str, str], Any]:
    """Return a table by (federation, key)."""
    of = state.tables[table]
    return {
        (federation, key): row for federation in of.federations() for key, row in of.of(federation).items()
    }


def _expected(  # noqa: PLR0911  (one for each worker)
    name: str, replayed: Replayed, number: int, state: State
) -> dict[str, tuple[Rows, Rows]]:
    """Return what stands in tables of a task and what has to."""
    match name:
        case "privacy":
            return _registrations(replayed, number, state) | {"judged": _judged(replayed, number, state)}
        case "health":
            return _registrations(replayed, number, state) | {"vitals": _vitals(replayed, number, state)}
        case "aggregation":
            return _bucket(replayed, number, state) | _done(name, replayed, number, state)
        case "collection":
            return _collection(replayed, number, state)
        case "distribution":
            health = _health(replayed, number)
            keys: Rows = {key: one.public_keys for key, one in health.items() if one.public_keys}
            return {"keys": (rows(state, "keys"), keys)} | _done(name, replayed, number, state)
        case "consensus":
            cut = {
                (federation, ""): last
                for (federation, kind), last in _last(replayed, RoundBarrier).items()
                if kind == RoundKind.SYNCHRONIZATION and _at(replayed, PARTITIONED, number, federation)
            }
            return {"synchronizations": (rows(state, "synchronizations"), cut)} | _done(
                name, replayed, number, state
            )
        case _:
            return _done(name, replayed, number, state)


def _at(replayed: Replayed, topic: str, number: int, federation: str, name: str = "") -> bool:
    """Tell whether the partition is that of the instance, or of the federation."""
    key = f"{federation}/{name}" if name else federation
    return key_partition(key, replayed.log.partitions[topic]) == number


# -- instances


def _registrations(replayed: Replayed, number: int, state: State) -> dict[str, tuple[Rows, Rows]]:
    ours = {
        key: (row.registered, row.offset, row.enrolment, row.deregistered)
        for key, row in rows(state, "registrations").items()
    }
    theirs = {
        address: (history[-1].registered, history[-1].offset, history[-1].enrolment, history[-1].left)
        for address, history in replayed.replay.registrations.history.items()
        if _at(replayed, InstanceRegistered.topic, number, *address)
    }
    return {"registrations": (ours, theirs)}


def _judged(replayed: Replayed, number: int, state: State) -> tuple[Rows, Rows]:
    def facts(row: Any) -> tuple[Any, ...]:
        return row.sequence, row.refused, row.minute, row.reports, row.size

    ours = {key: facts(row) for key, row in rows(state, "judged").items()}
    theirs = {
        address: facts(last)
        for address, last in replayed.replay.reports.last.items()
        if _at(replayed, PatternReport.topic, number, *address)
    }
    return ours, theirs


def _vitals(replayed: Replayed, number: int, state: State) -> tuple[Rows, Rows]:
    """Compare what was admitted and judged last; who is alive is a decision."""
    ours = {
        key: (row.admitted_sequence, row.admitted_ms, row.judged_sequence, row.judged_outcome)
        for key, row in rows(state, "vitals").items()
        if row.judged_outcome is not None
    }
    theirs = {}
    for address, judged in replayed.replay.reports.judged.items():
        if _at(replayed, PatternReport.topic, number, *address):
            taken = replayed.replay.reports.taken.get(address, {})
            sequence = next(reversed(taken), None)
            early = judged[-1].outcome == f"refused:{Reason.TOO_EARLY}"
            theirs[address] = (
                sequence,
                None if sequence is None else taken[sequence].admitted_ms,
                None if early else judged[-1].sequence,
                judged[-1].outcome,
            )
    return ours, theirs


# -- buckets


def _bucket(replayed: Replayed, number: int, state: State) -> dict[str, tuple[Rows, Rows]]:
    words = {federation: list(codes) for (federation, _), codes in rows(state, "words").items()}

    def unpacked(federation: str, held: Held) -> tuple[Any, ...]:
        return held.sequence, held.removed, _unpacked(held.rows, words[federation])

    barriers = {
        stands.event.federation: stands.event.instances
        for stands in events(replayed.log, RoundBarrier)
        if stands.record.partition == number
    }
    sequences = {
        (federation, name): sequence
        for federation, named in barriers.items()
        for name, sequence in zip(named.instance_id, named.sequence, strict=True)
    }
    named, newer = {}, defaultdict(list)
    for address, held in replayed.replay.contributions.buckets.get(number, {}).items():
        for one in held:
            contributed = (one.sequence, one.removed, dict(one.rows))
            if one.sequence == sequences.get(address):
                named[address] = contributed
            elif one.sequence > sequences.get(address, -1):
                newer[address].append(contributed)
    released = {
        (federation, signature): () if facts is None else _release(signature, facts)
        for federation, phases in replayed.replay.phases.items()
        if number in phases.ledgers
        for signature, facts in phases.ledgers[number].released.items()
    }
    return {
        "named": ({key: unpacked(key[0], held) for key, held in rows(state, "named").items()}, named),
        "newer": (
            {key: [unpacked(key[0], one) for one in held] for key, held in rows(state, "newer").items()},
            newer,
        ),
        "released": ({key: tuple(row) for key, row in rows(state, "released").items()}, released),
    }


def _unpacked(packed: bytes, words: Sequence[str]) -> dict[str, tuple[Any, ...]]:
    return {
        signature.hex(): (words[code], strength, resonance, certainty, frequency)
        for signature, strength, resonance, certainty, frequency, code in _ROW.iter_unpack(packed)
    }


def _release(signature: str, facts: Mapping[str, Any]) -> tuple[Any, ...]:
    counts = (facts["organisation_count"], facts["instance_count"], facts["total_frequency"])
    return (signature, facts["pattern_type"], *counts, *(value / 100 for value in facts["hundredths"]))


# -- rounds


def _health(replayed: Replayed, number: int) -> dict[tuple[str, str], InstanceHealth]:
    found: dict[tuple[str, str], InstanceHealth] = {}
    for record in replayed.log.records.get((InstanceHealth.topic, number), ()):
        event = event_of(record)
        if isinstance(event, InstanceHealth):
            found[event.federation, event.instance_id] = event
    return found


def _collection(replayed: Replayed, number: int, state: State) -> dict[str, tuple[Rows, Rows]]:
    def facts(health: InstanceHealth) -> InstanceHealth:
        # The state keeps the last judged report whose sequence could be read.
        return health.model_copy(update={"judged": None})

    covered = {
        (federation, f"{kind}/{name}"): sequence
        for federation, phases in replayed.replay.phases.items()
        if _at(replayed, PARTITIONED, number, federation)
        for (kind, name), sequence in phases.collections.covered.items()
    }
    ours = {
        key[0]: (row.updates, row.synchronizations, row.update_opened_ms, row.synchronization_opened_ms)
        for key, row in rows(state, "rounds").items()
    }
    last: dict[str, dict[RoundKind, int]] = {}
    assert replayed.replay.rounds is not None
    for one in replayed.replay.rounds.by_id.values():
        if one.federation in ours:
            of = last.setdefault(one.federation, dict.fromkeys(RoundKind, 0))
            of[one.kind] = max(one.number, of[one.kind])
    theirs = {
        federation: (of[RoundKind.UPDATE], of[RoundKind.SYNCHRONIZATION], None, None)
        for federation, of in last.items()
    }
    health = {key: facts(row) for key, row in rows(state, "health").items()}
    return {
        "covered": (rows(state, "covered"), covered),
        "rounds": ({(key,): row for key, row in ours.items()}, {(key,): row for key, row in theirs.items()}),
        "health": (health, {key: facts(row) for key, row in _health(replayed, number).items()}),
    }


def _last(replayed: Replayed, event: type[Any]) -> dict[tuple[str, ...], int]:
    """Return (federation, kind) -> number of the last round of which there is such an event."""
    found: dict[tuple[str, ...], int] = {}
    for stands in events(replayed.log, event):
        key = (stands.event.federation, stands.event.kind.value)
        found[key] = max(stands.event.number, found.get(key, 0))
    return found


def _done(name: str, replayed: Replayed, number: int, state: State) -> dict[str, tuple[Rows, Rows]]:
    """Compare the numbers of the last rounds that were taken in; a bucket takes in those of everybody."""
    theirs = {
        key: last
        for key, last in _last(replayed, TAKEN_IN[name]).items()
        if (name == "aggregation" or _at(replayed, PARTITIONED, number, key[0]))
        and (name != "distribution" or key[1] == RoundKind.SYNCHRONIZATION)
    }
    return {"parts-done": (rows(state, "parts-done"), theirs)}
