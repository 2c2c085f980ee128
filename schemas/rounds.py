"""The hand-over from phase to phase of a round, in micro-units, for the operator and for audits."""

from enum import StrEnum
from typing import Annotated, ClassVar, Literal

from pydantic import Field, StringConstraints

from schemas.event import (
    MICRO,
    NAME_FORM,
    Columns,
    Count,
    Event,
    Facts,
    Micro,
    Milliseconds,
    Name,
    Part,
    Sequence,
    SignatureId,
)
from schemas.health import Status
from schemas.reasons import DropReason

RoundId = Annotated[
    str,
    StringConstraints(pattern=rf"^{NAME_FORM}/(update|synchronization)/[0-9]{{1,18}}$"),
    Field(description="federation/kind/number"),
]
CoverOutcome = Annotated[
    str,
    StringConstraints(pattern=r"^(included|not_active|no_patterns|low_quality|refused:[a-z0-9_]+)$"),
]
Integers = tuple[int, ...]


class RoundKind(StrEnum):
    """An update runs the first four phases at once; a synchronization runs all six."""

    UPDATE = "update"
    SYNCHRONIZATION = "synchronization"


class Phase(StrEnum):
    """The six phases, in their order."""

    COLLECTION = "collection"
    VALIDATION = "validation"
    AGGREGATION = "aggregation"
    DETECTION = "detection"
    DISTRIBUTION = "distribution"
    VERIFICATION = "verification"


class Configuration(Facts):
    """Everything in the settings that a round's result depends on, fixed when the round opens."""

    min_instances: Annotated[int, Field(ge=1)] = Field(default=2, description="Quorum of a synchronization.")
    min_instance_weight: Annotated[int, Field(ge=1, le=MICRO)] = Field(
        default=100_000, description="No instance weighs less, micro-units (the cap beats it)."
    )
    min_data_quality: Micro = Field(default=700_000, description="Below it an instance is dropped.")
    report_max_age_ms: Milliseconds = Field(
        default=7 * 86_400_000, description="An older report leaves the cohort."
    )
    method: Literal["mean", "median", "trimmed"] = Field(default="mean", description="Aggregation method.")
    trim: Annotated[int, Field(ge=0, lt=MICRO // 2)] = Field(
        default=0, description="Share of weight cut off each end by `trimmed`, micro-units."
    )
    release_threshold: Annotated[int, Field(ge=2)] = Field(
        default=5, description="A pattern leaves the system only with so many organisations behind it."
    )
    min_convergence: Micro = Field(default=950_000, description="Converged needs more.")
    min_alignment: Micro = Field(default=900_000, description="Converged needs more.")
    max_variance: Micro = Field(default=50_000, description="Converged needs less.")
    min_emergence: Micro = Field(default=850_000, description="Converged needs more.")


class RoundInstances(Columns):
    """Every instance with an admitted report, in the cohort or not, sorted by instance_id over all parts.

    In the cohort = drop_reason is null. The weight of the others is 0 from the validation on.
    """

    instance_id: tuple[Name, ...] = Field(description="The instance.")
    organisation: tuple[Name, ...] = Field(description="Its organisation.")
    status: tuple[Status, ...] = Field(description="Its health at the closing of the collection.")
    sequence: tuple[Sequence, ...] = Field(description="Of the report that counts.")
    rows: Integers = Field(description="Accepted rows of that report.")
    data_quality: Integers = Field(description="Micro-units.")
    weight: Integers = Field(description="Micro-units; capped from the validation on.")
    straggler: tuple[bool, ...] = Field(description="Did not answer the announcement in time.")
    drop_reason: tuple[DropReason | None, ...] = Field(description="Why it is not in the cohort.")


class Cover(Facts):
    """What a result says of one judged report; it answers every sequence up to its own."""

    instance_id: Name = Field(description="The instance.")
    sequence: Sequence = Field(description="The judged report's.")
    outcome: CoverOutcome = Field(description="included, or why not.")


class Participation(Columns):
    """How many of the last (at most 10) completed synchronizations each instance was in."""

    attended: Integers = Field(description="Memberships.")
    counted: Integers = Field(description="Out of so many; 0 for none yet.")


class MemberSums(Columns):
    """What merges over buckets, per cohort instance (hi, lo: value = hi * 2^32 + lo), micro-units."""

    overlap_hi: Integers = Field(description="Sum of min(s*D, T_s - w*s) over own and library, high part.")
    overlap_lo: Integers = Field(description="Low 32 bits of it.")
    own_strength: Integers = Field(description="Sum of strengths over own rows.")
    shared_strength: Integers = Field(description="Sum of strengths over own rows in the library.")
    shared_weight: Integers = Field(description="Sum of W_p over own rows in the library.")
    shared_emergence: Integers = Field(description="Sum of emergence over own rows in the library.")
    certainty: Integers = Field(description="Sum of certainties over own rows.")
    resonance: Integers = Field(description="Sum of resonances over own rows.")
    rows: Integers = Field(description="Own rows.")
    shared: Integers = Field(description="Own rows in the library.")


class LibrarySums(Facts):
    """What merges over buckets for the federation as a whole (hi, lo as above)."""

    strength_hi: Count = Field(description="Sum of T_s over the library, high part.")
    strength_lo: Count = Field(description="Low 32 bits of it.")
    weight_hi: Count = Field(description="Sum of W_p over the library, high part.")
    weight_lo: Count = Field(description="Low 32 bits of it.")
    emergence_hi: Count = Field(description="Sum of W_p * e over the library, high part.")
    emergence_lo: Count = Field(description="Low 32 bits of it.")
    library: Count = Field(description="Signatures in the library.")
    distinct: Count = Field(description="Distinct signatures.")


class ReleaseCounts(Facts):
    """What a synchronization released, withheld and let emerge; counts of all, names of a few."""

    released: Count = Field(description="Patterns that are released now.")
    withheld: Count = Field(description="Patterns below the release threshold.")
    emerged: Count = Field(description="Patterns released for the first time.")
    emerged_ids: Annotated[tuple[SignatureId, ...], Field(max_length=1600)] = Field(
        description="At most 100 of them per bucket."
    )


class MemberScores(Columns):
    """The scores of the part's instances, micro-units; 0 outside the cohort."""

    alignment: Integers = Field(description="Generalised Jaccard similarity to what the others hold.")
    coverage: Integers = Field(description="Share of the library's weight that it holds.")
    quality: Integers = Field(description="Mean certainty of its rows.")
    participation: Integers = Field(description="Share of the last synchronizations it was in.")
    resonance: Integers = Field(description="Mean resonance of its rows.")
    convergence: Integers = Field(description="Mean of coverage, quality and participation.")
    emergence: Integers = Field(description="Mean emergence of its rows in the library.")
    unified: Integers = Field(description="Mean of convergence and emergence.")


class GlobalScores(Facts):
    """The scores of the federation, micro-units."""

    global_convergence: Count = Field(description="0.5 weighted mean + 0.3 alignment + 0.2 emergence.")
    pattern_alignment: Count = Field(description="Weighted mean of the alignments.")
    global_emergence: Count = Field(description="Emergence over the library, weighted by W_p.")
    convergence_variance: Count = Field(description="Weighted population variance of unified.")
    mean_convergence: Count = Field(description="Unweighted mean of unified.")
    weighted_mean_convergence: Count = Field(description="Weighted mean of unified.")


class CriterionVerdict(Facts):
    """One criterion of convergence: met or not, and by how much, micro-units."""

    name: Literal["convergence", "alignment", "variance", "emergence"] = Field(description="Which.")
    value: Count = Field(description="The score.")
    threshold: Count = Field(description="What it is held against, strictly.")
    met: bool = Field(description="Whether it holds.")
    distance: int = Field(description="How far on the right side (positive) or the wrong side (negative).")


class HandOver(Event):
    """What a phase tells the next one; travels in parts, all in one transaction."""

    topic: ClassVar[str] = "flc.rounds.v1"

    round_id: RoundId
    kind: RoundKind = Field(description="update or synchronization.")
    number: Count = Field(description="Counts the rounds of this kind in this federation from 1.")
    part: Part = Field(description="0 … parts - 1.")
    parts: Part = Field(description="How many parts make the hand-over.")
    commands: tuple[Name, ...] = Field(description="Ids of the requests that the round answers.")
    opened_at_ms: Milliseconds = Field(description="Unix ms, broker time.")
    next_window_ms: Milliseconds | None = Field(description="When the next scheduled synchronization is due.")
    phase_started_ms: dict[Phase, Milliseconds] = Field(description="When each phase so far started.")
    configuration: Configuration = Field(description="What the result depends on.")
    instances: RoundInstances = Field(description="The instances of this part.")
    covers: tuple[Cover, ...] = Field(description="The judged reports that this part answers.")


class CollectionCompleted(HandOver):
    """Collection closed: who is in, with which report and weight."""


class ValidationCompleted(HandOver):
    """Validation closed: the cohort stands, weights are capped."""


class AggregationCompleted(HandOver):
    """Aggregation closed: the partials of all buckets are merged. The last part has the totals."""

    participation: Participation = Field(description="Of the part's instances.")
    sums: MemberSums = Field(description="Of the part's instances; 0 outside the cohort.")
    library: LibrarySums | None = Field(description="In the last part.")
    releases: ReleaseCounts | None = Field(description="In the last part of a synchronization.")


class DetectionCompleted(HandOver):
    """Detection closed: the result in micro-units. The last part has the totals."""

    scores: MemberScores = Field(description="Of the part's instances; 0 outside the cohort.")
    global_scores: GlobalScores | None = Field(description="In the last part.")
    criteria: tuple[CriterionVerdict, ...] = Field(description="In the last part.")
    converged: bool | None = Field(description="In the last part: every criterion is met.")
    library: Count | None = Field(description="In the last part: signatures in the library.")
    releases: ReleaseCounts | None = Field(description="In the last part of a synchronization.")


class DistributionCompleted(DetectionCompleted):
    """Distribution closed: who has acknowledged the round's knowledge."""

    acknowledged: tuple[Name, ...] = Field(description="Instances of this part that acknowledged in time.")
    missing: tuple[Name, ...] = Field(description="Instances of this part that were awaited in vain.")
