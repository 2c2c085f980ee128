"""What the federation knows together: released patterns, and the signs that a round's knowledge is whole."""

from typing import ClassVar

from pydantic import Field

from schemas.event import Count, Event, Inbound, Milliseconds, Name, PatternType, Ratio, Sequence, SignatureId
from schemas.rounds import RoundId


class AggregatedPattern(Event):
    """A released pattern: k or more organisations hold it, none dominates. A tombstone withdraws it.

    Values have 2 decimals; counts are rounded down to k, 10, 20, 50, …, total_frequency to a power of two.
    """

    topic: ClassVar[str] = "flc.knowledge.v1"

    pattern_id: SignatureId = Field(description="The signature.")
    pattern_type: PatternType = Field(description="As the contributors with the greatest weight have it.")
    organisation_count: Count = Field(description="At least so many organisations.")
    instance_count: Count = Field(description="At least so many instances.")
    total_frequency: Count = Field(description="At least so many observations.")
    average_strength: Ratio = Field(description="Weighted.")
    average_resonance: Ratio = Field(description="Weighted.")
    average_epistemic_certainty: Ratio = Field(description="Weighted.")
    consensus_score: Ratio = Field(description="Agreement of the contributors on this pattern.")
    round_id: RoundId
    number: Count = Field(description="Number of the synchronization that last changed it.")
    aggregated_at: Milliseconds = Field(description="Unix ms, broker time.")


class KnowledgeMark(Event):
    """The partition's knowledge is as of synchronization ``number``; written also when nothing changed."""

    topic: ClassVar[str] = "flc.knowledge.v1"

    round_id: RoundId
    number: Count = Field(description="Number of the synchronization.")
    bucket: Count = Field(description="The partition.")
    patterns: Count = Field(description="Released patterns in this partition.")


class KnowledgeAcknowledged(Inbound):
    """An instance has all knowledge of a synchronization; signed by the instance."""

    topic: ClassVar[str] = "flc.acknowledgements.v1"

    instance_id: Name = Field(description="The instance.")
    round_id: RoundId
    sequence: Sequence = Field(description="Sending time (Unix ms).")
