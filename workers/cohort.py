"""Who is in a round: the instances with a report, why some are left out, and what the result answers them."""

from collections.abc import Container, Sequence

from schemas.health import InstanceHealth, Status
from schemas.reasons import DropReason
from schemas.rounds import Cover, RoundInstances


def is_living(status: Status) -> bool:
    """Tell whether an instance is active, if only barely."""
    return status in {Status.ACTIVE, Status.DEGRADED}


def drop_reason(status: Status, report_age_ms: int, max_age_ms: float) -> DropReason | None:
    """Return why an instance with an admitted report is not in the cohort, or None: it is."""
    if not is_living(status):
        return DropReason.NOT_ACTIVE
    return DropReason.REPORT_TOO_OLD if report_age_ms >= max_age_ms else None


def report_age_ms(health: InstanceHealth, now_ms: int) -> int:
    """Return the age of an instance's report, if it has one; else that of the time itself."""
    return now_ms - (health.admitted.append_ms if health.admitted is not None else 0)


def is_member(health: InstanceHealth, now_ms: int, max_age_ms: float) -> bool:
    """Tell whether an instance is in the cohort of a round that closes now."""
    reason = drop_reason(health.status, report_age_ms(health, now_ms), max_age_ms)
    return health.admitted is not None and reason is None


def admitted_sequence(health: InstanceHealth) -> int | None:
    """Return the sequence of an instance's report that counts, if it has one."""
    return None if health.admitted is None else health.admitted.sequence


def judged_sequence(health: InstanceHealth) -> int | None:
    """Return the newest sequence of an instance that a result has to answer."""
    if health.judged is not None and health.judged.sequence is not None:
        return health.judged.sequence
    return admitted_sequence(health)


def instances(
    healths: Sequence[InstanceHealth], unanswered: Container[str], now_ms: int, max_age_ms: float
) -> RoundInstances:
    """Return every instance with an admitted report, in the cohort or not, with its weight before the cap.

    ``unanswered``: who is in with an earlier report, though a newer one was waited for.
    """
    reporting = [(health, health.admitted) for health in healths if health.admitted is not None]
    reasons = tuple(
        drop_reason(health.status, report_age_ms(health, now_ms), max_age_ms) for health, _ in reporting
    )
    return RoundInstances(
        instance_id=tuple(health.instance_id for health, _ in reporting),
        organisation=tuple(health.organisation for health, _ in reporting),
        status=tuple(health.status for health, _ in reporting),
        sequence=tuple(admitted.sequence for _, admitted in reporting),
        rows=tuple(health.pattern_count for health, _ in reporting),
        data_quality=tuple(health.data_quality for health, _ in reporting),
        weight=tuple(health.weight for health, _ in reporting),
        straggler=tuple(
            reason is None and health.instance_id in unanswered
            for (health, _), reason in zip(reporting, reasons, strict=True)
        ),
        drop_reason=reasons,
    )


def covers(uncovered: Sequence[InstanceHealth], listed: RoundInstances) -> tuple[Cover, ...]:
    """Return what the result says of the last judged report of each of these instances.

    A refused report hides an admitted one before it: the cover of a sequence answers all below it.
    """
    reasons = dict(zip(listed.instance_id, listed.drop_reason, strict=True))
    said = []
    for health in uncovered:
        sequence, judged = judged_sequence(health), health.judged
        if sequence is None:
            continue
        if judged is not None and judged.sequence is not None and judged.outcome.startswith("refused:"):
            outcome = judged.outcome
        elif health.admitted is None:
            continue
        else:
            outcome = "included" if reasons[health.instance_id] is None else str(DropReason.NOT_ACTIVE)
        said.append(Cover(instance_id=health.instance_id, sequence=sequence, outcome=outcome))
    return tuple(said)
