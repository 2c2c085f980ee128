"""Audits: the log of a bus is read from its beginning, and everything that follows from it is recomputed."""

from dataclasses import replace

from convergence.errors import UnknownRound
from convergence.replay.findings import Finding
from convergence.replay.log import Log, gathered
from convergence.replay.replay import replay, subject_of
from convergence.replay.reports import micro
from convergence.replay.rules import Rules
from convergence.topics import described, everything
from schemas import signing
from schemas.catalogue import EVENTS
from workers.fold import Record
from workers.runtime.port import Bus, TopicPartition
from workers.settings import Settings

#: What was appended so shortly before the end may not have been answered yet.
SETTLED_AFTER_MS = 10_000

#: The topics that are read: all but the changelogs, which repeat what stands in these.
TOPICS = tuple(sorted({event.topic for event in EVENTS.values()}))

#: Headers that no two records have alike.
_OWN_HEADERS = frozenset({"ce_id", "ce_time", "ce_subject", signing.SIGNATURE_HEADER, "traceparent"})


async def audit(bus: Bus, settings: Settings, round_id: str | None = None) -> list[Finding]:
    """Return what a replay finds, of everything on the bus or of one round; no consumer group is joined.

    ``settings`` are those of the workers: reports and registrations are judged by them, rounds by what their
    own events say. Raises UnknownRound, TopicsMissing, or Unavailable if reading does not get to the end.
    """
    findings = list(replay(await read_log(bus), rules_of(settings), round_id))
    if round_id is not None and not any(finding.subject == subject_of(round_id) for finding in findings):
        raise UnknownRound(f"nothing is known of the round {round_id}")
    return findings


async def read_log(bus: Bus) -> Log:
    """Return everything that is on the bus, as of one moment: no effect without its cause.

    The ends are taken twice. All that was appended before the first look is in front of the second ends, so
    what is not younger than the youngest record of the first look is there, in every partition.
    """
    topics = await described(bus, TOPICS)
    partitions = [TopicPartition(name, n) for name, topic in topics.items() for n in range(topic.partitions)]
    starts = await bus.beginning_offsets(partitions)
    first_ends = await bus.end_offsets(partitions)
    shared: dict[tuple[str, bytes], tuple[str, bytes]] = {}
    records = [_lean(record, shared) async for record in everything(bus, partitions)]
    moment_ms = max(
        (
            record.append_ms
            for record in records
            if record.offset < first_ends[TopicPartition(record.topic, record.partition)]
        ),
        default=0,
    )
    return Log(
        records=gathered(record for record in records if record.append_ms <= moment_ms),
        starts={(at.topic, at.partition): start for at, start in starts.items()},
        settled_ms=moment_ms - SETTLED_AFTER_MS,
    )


def _lean(record: Record, shared: dict[tuple[str, bytes], tuple[str, bytes]]) -> Record:
    """Return the record with headers that are in memory once, as far as others have the same."""
    own = (pair if pair[0] in _OWN_HEADERS else shared.setdefault(pair, pair) for pair in record.headers)
    return replace(record, headers=tuple(own))


def rules_of(settings: Settings) -> Rules:
    """Return what the workers judged by, if these are their settings."""
    return Rules(
        min_certainty=micro(settings.min_epistemic_certainty),
        min_quality=micro(settings.pattern_quality_threshold),
        min_weight=max(1, micro(settings.min_instance_weight)),
        max_ahead_ms=settings.max_sequence_ahead_ms,
        max_reports_a_minute=settings.max_reports_a_minute,
        max_report_bytes_a_minute=settings.max_report_bytes_a_minute,
        max_behind_ms=settings.max_sequence_behind_ms,
        open_enrolment=settings.enrolment == "open",
        operator_keys=dict(settings.operator_keys),
    )
