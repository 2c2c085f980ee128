"""The public results: what anybody may subscribe to. Globals have 4 decimals, instance scores 2."""

from typing import ClassVar, Literal

from pydantic import Field

from schemas.event import Count, Event, Facts, Milliseconds, Name, Part, Ratio, SignatureId
from schemas.reasons import AbandonReason, DropReason
from schemas.rounds import Cover, Phase, RoundId, RoundKind


class PublicInstanceScores(Facts):
    """The scores of one instance, 2 decimals."""

    instance_id: Name = Field(description="The instance.")
    convergence_score: Ratio = Field(description="Mean of coverage, quality and participation.")
    emergence_score: Ratio = Field(description="Mean emergence of its patterns in the library.")
    resonance_score: Ratio = Field(description="Mean resonance of its patterns.")
    unified_score: Ratio = Field(description="Mean of the first two.")
    alignment: Ratio = Field(description="Similarity to what the others hold.")
    pattern_count: Count = Field(description="Its accepted patterns.")


class PublicCriterion(Facts):
    """One criterion of convergence, 4 decimals."""

    name: Literal["convergence", "alignment", "variance", "emergence"] = Field(description="Which.")
    value: Ratio = Field(description="The score.")
    threshold: Ratio = Field(description="What it is held against, strictly.")
    met: bool = Field(description="Whether it holds.")
    distance: float = Field(description="How far on the right (positive) or wrong (negative) side.")


class RoundEvent(Event):
    """A public event of a round."""

    topic: ClassVar[str] = "flc.convergence.v1"

    round_id: RoundId
    kind: RoundKind = Field(description="update or synchronization.")
    number: Count = Field(description="Number of the round in its kind.")
    timestamp: Milliseconds = Field(description="Unix ms, broker time.")


class RoundResult(RoundEvent):
    """The scores of a completed round; travels in parts, the totals in every part."""

    part: Part = Field(description="0 … parts - 1.")
    parts: Part = Field(description="How many parts make the result.")
    global_convergence: Ratio = Field(description="How far learning has converged.")
    pattern_alignment: Ratio = Field(description="How well instances align.")
    global_emergence: Ratio = Field(description="How strongly patterns emerge across them.")
    convergence_variance: Ratio = Field(description="Weighted variance of the unified scores.")
    mean_convergence: Ratio = Field(description="Unweighted mean of the unified scores.")
    weighted_mean_convergence: Ratio = Field(description="Weighted mean of the unified scores.")
    convergence_achieved: bool = Field(description="Every criterion is met.")
    criteria: tuple[PublicCriterion, ...] = Field(description="The four criteria.")
    instance_count: Count = Field(description="Instances in the cohort.")
    patterns_aggregated: Count = Field(description="Signatures in the library.")
    opened_at: Milliseconds = Field(description="When the round opened (Unix ms, broker time).")
    instance_scores: tuple[PublicInstanceScores, ...] = Field(description="Scores of this part's instances.")
    covers: tuple[Cover, ...] = Field(description="The judged reports that this part answers.")


class ConvergenceUpdated(RoundResult):
    """The result of an update round; instance_scores are those of the covered instances only."""


class SynchronizationCompleted(RoundResult):
    """The result of a synchronization."""

    commands: tuple[Name, ...] = Field(description="Ids of the requests that it answers.")
    convergence_score: Ratio = Field(description="The same as global_convergence.")
    instances_synced: Count = Field(description="Instances in the cohort.")
    stragglers: Count = Field(description="Of them, in with an earlier report.")
    dropped: dict[DropReason, Count] = Field(description="Instances left out, by reason.")
    patterns_emerged: Count = Field(description="Patterns released for the first time.")
    acknowledged: Count = Field(description="Instances that acknowledged the knowledge in time.")
    sync_duration_ms: Count = Field(description="From the opening to the end of distribution.")
    phase_duration_ms: dict[Phase, Count] = Field(description="Of each phase but the last.")
    next_sync_window: Milliseconds | None = Field(description="When the next one is due (Unix ms).")
    errors: tuple[str, ...] = Field(description="What went wrong; empty in a completed round.")
    warnings: tuple[str, ...] = Field(description="What the operator should look at.")


class RoundAbandoned(RoundEvent):
    """A round ended below quorum, in collection or validation."""

    phase: Phase = Field(description="Where it ended.")
    reason: AbandonReason = Field(description="Why.")
    instance_count: Count = Field(description="Instances that were left in the cohort.")
    min_instances: Count = Field(description="The quorum.")
    dropped: dict[DropReason, Count] = Field(description="Instances left out, by reason.")
    commands: tuple[Name, ...] = Field(description="Ids of the requests that it answers.")
    next_sync_window: Milliseconds | None = Field(description="When the next one is due (Unix ms).")


class SynchronizationAnnounced(RoundEvent):
    """A synchronization collects: every instance is asked to report what it holds before the deadline."""

    deadline_ms: Milliseconds = Field(description="Unix ms, broker time.")


class KnowledgeAnnounced(RoundEvent):
    """The round's knowledge is there: read it up to the marks and acknowledge before the deadline."""

    deadline_ms: Milliseconds = Field(description="Unix ms, broker time.")


class PatternEmerged(RoundEvent):
    """A pattern was released for the first time."""

    pattern_id: SignatureId = Field(description="The signature.")
