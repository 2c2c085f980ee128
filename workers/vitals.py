"""The life of one instance: what heartbeats, reports and silence make of it. Pure values; times are Unix ms.

    unknown ──traffic──► active ◄──traffic── degraded
                            │                  ▲  │
                            └──3 periods silent┘  │
                              heartbeat_timeout silent
                                                  ▼
       active ◄──admitted report, or 3 beats in time── inactive

Heartbeats are counted against expectations: after a beat the next one is expected within one and a half
periods; a beat before that is a hit, its absence a miss, and the following one is expected a period later. So
neither jitter nor drift of a client's clock costs anything, and the share of hits among the
last 20 is its reliability.
"""

from dataclasses import dataclass, replace

from learning import weights
from schemas.health import Status

#: Heartbeats expected, of which the reliability is made.
RELIABILITY_PERIODS = 20

#: Reports of whose rows the data quality is made.
QUALITY_REPORTS = 20

#: Periods without traffic that make an active instance degraded.
DEGRADED_PERIODS = 3

#: Beats in time, one after the other, that bring back an inactive instance.
RECOVERY_BEATS = 3


@dataclass(frozen=True, slots=True)
class Accounting:
    """The rows of an admitted report."""

    received: int
    accepted: int
    low_certainty: int
    low_quality: int


@dataclass(frozen=True, slots=True)
class Vitals:
    """What is known of an instance's life."""

    period_ms: int
    status: Status = Status.UNKNOWN
    last_seen_ms: int | None = None
    skew_ms: int = 0
    #: Sequence of the last accepted heartbeat, and when it was appended.
    beat_sequence: int = -1
    beat_ms: int | None = None
    #: Hits and misses, the latest last; at most 20.
    beats: tuple[bool, ...] = ()
    #: When the next miss is counted; None before the first beat or report.
    miss_due_ms: int | None = None
    recovery: int = 0
    reports: tuple[Accounting, ...] = ()
    #: Offset of the last report whose admission was taken in.
    report_offset: int = -1
    admitted_sequence: int | None = None
    admitted_ms: int | None = None
    judged_sequence: int | None = None
    judged_outcome: str | None = None

    @property
    def reliability(self) -> int:
        """Heartbeats received / expected, micro-units."""
        return weights.reliability(sum(self.beats), len(self.beats))

    @property
    def data_quality(self) -> int:
        """Well-formed share of the rows of the last 20 reports, micro-units."""
        return weights.data_quality(
            sum(report.accepted for report in self.reports),
            sum(report.received for report in self.reports),
            sum(report.low_certainty for report in self.reports),
            sum(report.low_quality for report in self.reports),
        )

    @property
    def pattern_count(self) -> int:
        """Rows accepted of the last admitted report."""
        return self.reports[-1].accepted if self.reports else 0

    def seen(self, now_ms: int, sequence: int) -> "Vitals":
        """Return the vitals after signed traffic sent at ``sequence``; inactive, it takes more to return."""
        status = self.status if self.status is Status.INACTIVE else Status.ACTIVE
        due = self.miss_due_ms if self.miss_due_ms is not None else now_ms + self._patience_ms
        return replace(self, status=status, last_seen_ms=now_ms, skew_ms=sequence - now_ms, miss_due_ms=due)

    def beat(self, now_ms: int, sequence: int) -> "Vitals":
        """Return the vitals after a heartbeat that is newer than the last."""
        seen = replace(self.seen(now_ms, sequence), beat_sequence=sequence)
        if self.beat_ms is not None and now_ms - self.beat_ms < self.period_ms // 2:
            return seen  # a burst makes up for nothing
        in_time = self.beat_ms is not None and now_ms - self.beat_ms <= self._patience_ms
        recovery = self.recovery + 1 if in_time else 1
        status = seen.status
        if status is Status.INACTIVE and recovery >= RECOVERY_BEATS:
            status = Status.ACTIVE
        return replace(
            seen,
            status=status,
            beat_ms=now_ms,
            beats=_latest(self.beats, hit=True),
            miss_due_ms=now_ms + self._patience_ms,
            recovery=recovery if status is Status.INACTIVE else 0,
        )

    def admit(self, now_ms: int, sequence: int, accounting: Accounting) -> "Vitals":
        """Return the vitals after an admitted report, which brings back even an inactive instance."""
        return replace(
            self.seen(now_ms, sequence),
            status=Status.ACTIVE,
            recovery=0,
            reports=(*self.reports, accounting)[-QUALITY_REPORTS:],
            admitted_sequence=sequence,
            admitted_ms=now_ms,
        )

    def silent(self, now_ms: int, observed_from_ms: int, timeout_ms: int) -> "Vitals":
        """Return the vitals at ``now_ms``; what was before ``observed_from_ms`` is not held to be silence."""
        vitals = self._missed(now_ms, observed_from_ms)
        if self.last_seen_ms is None or self.status in {Status.UNKNOWN, Status.INACTIVE}:
            return vitals
        silence_ms = now_ms - max(self.last_seen_ms, observed_from_ms)
        if silence_ms >= timeout_ms:
            return replace(vitals, status=Status.INACTIVE, recovery=0)
        if silence_ms >= DEGRADED_PERIODS * self.period_ms:
            return replace(vitals, status=Status.DEGRADED)
        return vitals

    def _missed(self, now_ms: int, observed_from_ms: int) -> "Vitals":
        if self.miss_due_ms is None or now_ms < self.miss_due_ms:
            return self
        if len(self.beats) == RELIABILITY_PERIODS and not any(self.beats):
            return self  # one more miss says nothing new
        if self.miss_due_ms < observed_from_ms + self.period_ms:
            due = observed_from_ms + self._patience_ms
            if now_ms < due:
                return replace(self, miss_due_ms=due)
        else:
            due = self.miss_due_ms
        misses = 1 + (now_ms - due) // self.period_ms
        beats = (*self.beats, *(False,) * min(misses, RELIABILITY_PERIODS))[-RELIABILITY_PERIODS:]
        return replace(self, beats=beats, miss_due_ms=due + misses * self.period_ms, recovery=0)

    @property
    def _patience_ms(self) -> int:
        return self.period_ms * 3 // 2


def _latest(beats: tuple[bool, ...], *, hit: bool) -> tuple[bool, ...]:
    return (*beats, hit)[-RELIABILITY_PERIODS:]
