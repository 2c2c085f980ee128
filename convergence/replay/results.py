"""What is published of a round: 4 decimals for the federation, 2 for an instance, from the micro-units."""

from collections import Counter
from collections.abc import Iterator
from fractions import Fraction
from itertools import pairwise
from typing import Any

from convergence.replay import documents
from convergence.replay.assembly import Round, Whole, same, same_if_kept
from convergence.replay.exact import ONE, half_up
from convergence.replay.findings import Comparison
from convergence.replay.log import Log, event_type
from convergence.replay.validation import validated_instances
from schemas.convergence import (
    ConvergenceUpdated,
    KnowledgeAnnounced,
    PatternEmerged,
    PublicCriterion,
    PublicInstanceScores,
    RoundAbandoned,
    RoundEvent,
    SynchronizationAnnounced,
    SynchronizationCompleted,
)
from schemas.knowledge import KnowledgeAcknowledged
from schemas.reasons import AbandonReason, DropReason
from schemas.rounds import (
    CollectionCompleted,
    DetectionCompleted,
    DistributionCompleted,
    GlobalScores,
    Phase,
    RoundInstances,
    RoundKind,
)

GLOBAL_DECIMALS, INSTANCE_DECIMALS = 4, 2

#: Below so many organisations a synchronization warns of its release threshold.
ADVISED_RELEASE_THRESHOLD = 5


def public(value: int, decimals: int) -> float:
    """Return micro-units as they are published; a negative distance is rounded like its opposite."""
    unit: int = 10**decimals
    rounded = half_up(Fraction(abs(value) * unit, ONE))
    return (rounded if value >= 0 else -rounded) / unit


def abandoned(log: Log, one: Round, comparison: Comparison) -> None:
    """Hold the end of a round below its quorum against its collection, if it came so far."""
    found = one.find(RoundAbandoned)
    if found is None:
        if not log.is_cut(RoundEvent.topic):
            one.missing(f"{one.round_id}: the end of the round", "written")
        return
    event = found.event
    comparison.values(f"{found.name}.instance_count", event.instance_count < event.min_instances, True)  # noqa: FBT003
    comparison.values(f"{found.name}.kind", event.kind, RoundKind.SYNCHRONIZATION)
    collected = one.find(CollectionCompleted)
    opened_ms = None if collected is None else collected.event.opened_at_ms
    _announced(one, SynchronizationAnnounced, opened_ms, comparison, cut=log.is_cut(RoundEvent.topic))
    if collected is None:
        comparison.values(f"{found.name}.phase", event.phase, Phase.COLLECTION)
        return
    instances = validated_instances(collected.event)
    expected = RoundAbandoned(
        **_head(one, collected.append_ms),
        phase=Phase.VALIDATION,
        reason=AbandonReason.BELOW_QUORUM,
        instance_count=instances.drop_reason.count(None),
        min_instances=collected.event.configuration.min_instances,
        dropped=_dropped(instances),
        commands=collected.event.commands,
        next_sync_window=collected.event.next_window_ms,
    )
    same(one, expected, comparison)


def completed(log: Log, one: Round, detected: Whole[DetectionCompleted], comparison: Comparison) -> None:
    """Hold what was published of a round against its detection; raises DifferentError or UnderWayError."""
    event, cut = detected.event, log.is_cut(RoundEvent.topic)
    detected_ms = event.phase_started_ms[Phase.DETECTION]
    found = one.find(RoundAbandoned)
    comparison.values(f"{one.round_id}: an abandonment", None if found is None else found.name, None)
    if one.kind is RoundKind.UPDATE:
        covered = {cover.instance_id for cover in event.covers}
        scores = tuple(each for each in _instance_scores(event) if each.instance_id in covered)
        updated = ConvergenceUpdated(**_result(one, event, detected_ms), instance_scores=scores)
        same_if_kept(one, updated, comparison, cut)
        return
    if not cut:
        _emerged(one, event, detected_ms, comparison)
    _announced(one, SynchronizationAnnounced, event.opened_at_ms, comparison, cut=cut)
    announced = _announced(one, KnowledgeAnnounced, detected.append_ms, comparison, cut=cut)
    distributed = _distributed(log, one, detected, announced, comparison)
    finished = SynchronizationCompleted(
        **_result(one, event, distributed.append_ms),
        **_synchronization(distributed.event, distributed.append_ms),
        instance_scores=tuple(_instance_scores(event)),
    )
    same_if_kept(one, finished, comparison, cut)


def _emerged(one: Round, event: DetectionCompleted, detected_ms: int, comparison: Comparison) -> None:
    named = () if event.releases is None else event.releases.emerged_ids
    stands = {each.event.pattern_id: each for each in one.each(PatternEmerged)}
    for pattern_id in named:
        found = stands.pop(pattern_id, None)
        if found is None:
            one.missing(f"{one.round_id}: PatternEmerged of {pattern_id}", "written")
        comparison.events(
            str(found), found.event, PatternEmerged(**_head(one, detected_ms), pattern_id=pattern_id)
        )
    comparison.values(f"{one.round_id}: other patterns that emerged", sorted(stands), [])


def _announced(
    one: Round,
    kind: type[SynchronizationAnnounced | KnowledgeAnnounced],
    now_ms: int | None,
    comparison: Comparison,
    *,
    cut: bool,
) -> int | None:
    """Return the deadline of an announcement, which is a decision; None if the announcement is gone.

    ``now_ms`` None: when it was made is a decision, too.
    """
    found = one.find(kind)
    if found is None:
        if not cut:
            one.missing(f"{one.round_id}: {kind.__name__}", "written")
        return None
    deadline_ms: int = found.event.deadline_ms
    now_ms = found.event.timestamp if now_ms is None else now_ms
    comparison.events(found.name, found.event, kind(**_head(one, now_ms), deadline_ms=deadline_ms))
    comparison.values(f"{found.name}.deadline_ms: after it", deadline_ms > now_ms, True)  # noqa: FBT003
    return deadline_ms


def _distributed(
    log: Log,
    one: Round,
    detected: Whole[DetectionCompleted],
    deadline_ms: int | None,
    comparison: Comparison,
) -> Whole[DistributionCompleted]:
    """Hold the distribution against its detection; who acknowledged in time is a decision, but a sent one."""
    event = detected.event
    found = one.find(DistributionCompleted)
    if found is None:
        one.missing(f"{one.round_id}: DistributionCompleted", "written")
    instances = event.instances
    awaited = {
        instance
        for instance, reason, straggler in zip(
            instances.instance_id, instances.drop_reason, instances.straggler, strict=True
        )
        if reason is None and not straggler
    }
    acknowledged = set(found.event.acknowledged)
    if deadline_ms is not None and not log.is_cut(KnowledgeAcknowledged.topic):
        sent = _acknowledgements(log, one, deadline_ms)
        comparison.values(f"{found.name}.acknowledged: not sent in time", sorted(acknowledged - sent), [])
    expected = DistributionCompleted(
        **dict(event)
        | {
            "phase_started_ms": event.phase_started_ms | {Phase.DISTRIBUTION: detected.append_ms},
            "acknowledged": tuple(sorted(acknowledged & awaited)),
            "missing": tuple(sorted(awaited - acknowledged)),
        }
    )
    return same(one, expected, comparison)


def _acknowledgements(log: Log, one: Round, deadline_ms: int) -> set[str]:
    """Return the instances of which an acknowledgement of the round stands on the bus in time."""
    found = set()
    for record in log.of(KnowledgeAcknowledged.topic):
        if record.append_ms < deadline_ms and event_type(record) == KnowledgeAcknowledged.__name__:
            event = documents.parse(record.value or b"", KnowledgeAcknowledged)
            if isinstance(event, KnowledgeAcknowledged) and event.round_id == one.round_id:
                found.add(event.instance_id)
    return found


def _head(one: Round, now_ms: int) -> dict[str, Any]:
    return {
        "federation": one.federation,
        "round_id": one.round_id,
        "kind": one.kind,
        "number": one.number,
        "timestamp": now_ms,
    }


def _result(one: Round, event: DetectionCompleted, now_ms: int) -> dict[str, Any]:
    """Return the fields of every result but the scores of the instances."""
    scores = event.global_scores
    return _head(one, now_ms) | {
        "part": 0,
        "parts": 1,
        **{name: public(getattr(scores, name), GLOBAL_DECIMALS) for name in GlobalScores.model_fields},
        "convergence_achieved": event.converged,
        "criteria": tuple(
            PublicCriterion(
                name=each.name,
                value=public(each.value, GLOBAL_DECIMALS),
                threshold=public(each.threshold, GLOBAL_DECIMALS),
                met=each.met,
                distance=public(each.distance, GLOBAL_DECIMALS),
            )
            for each in event.criteria
        ),
        "instance_count": event.instances.drop_reason.count(None),
        "patterns_aggregated": event.library,
        "opened_at": event.opened_at_ms,
        "covers": event.covers,
    }


def _instance_scores(event: DetectionCompleted) -> Iterator[PublicInstanceScores]:
    """Yield the scores of the cohort."""
    instances, scores = event.instances, event.scores
    for row, reason in enumerate(instances.drop_reason):
        if reason is None:
            yield PublicInstanceScores(
                instance_id=instances.instance_id[row],
                convergence_score=public(scores.convergence[row], INSTANCE_DECIMALS),
                emergence_score=public(scores.emergence[row], INSTANCE_DECIMALS),
                resonance_score=public(scores.resonance[row], INSTANCE_DECIMALS),
                unified_score=public(scores.unified[row], INSTANCE_DECIMALS),
                alignment=public(scores.alignment[row], INSTANCE_DECIMALS),
                pattern_count=instances.rows[row],
            )


def _synchronization(event: DistributionCompleted, now_ms: int) -> dict[str, Any]:
    """Return what only the result of a synchronization has."""
    instances, scores = event.instances, event.global_scores
    members = instances.drop_reason.count(None)
    stragglers = sum(
        straggler and reason is None
        for straggler, reason in zip(instances.straggler, instances.drop_reason, strict=True)
    )
    started_ms = [event.phase_started_ms[phase] for phase in list(Phase)[:-1]]
    return {
        "commands": event.commands,
        "convergence_score": public(0 if scores is None else scores.global_convergence, GLOBAL_DECIMALS),
        "instances_synced": members,
        "stragglers": stragglers,
        "dropped": _dropped(instances),
        "patterns_emerged": 0 if event.releases is None else event.releases.emerged,
        "acknowledged": len(event.acknowledged),
        "sync_duration_ms": max(0, now_ms - event.opened_at_ms),
        "phase_duration_ms": {
            phase: max(0, after - before)
            for phase, (before, after) in zip(Phase, pairwise((*started_ms, now_ms)), strict=False)
        },
        "next_sync_window": event.next_window_ms,
        "errors": (),
        "warnings": tuple(_warnings(stragglers, len(event.missing), event.configuration.release_threshold)),
    }


def _warnings(stragglers: int, missing: int, threshold: int) -> Iterator[str]:
    if stragglers:
        yield f"{stragglers} of the cohort did not report in time and are in with an earlier report"
    if missing:
        yield f"{missing} instances did not acknowledge the knowledge in time"
    if threshold < ADVISED_RELEASE_THRESHOLD:
        yield f"the release threshold of {threshold} is below {ADVISED_RELEASE_THRESHOLD} organisations"


def _dropped(instances: RoundInstances) -> dict[DropReason, int]:
    return dict(Counter(reason for reason in instances.drop_reason if reason is not None))
