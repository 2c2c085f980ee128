"""Between the consensus and the aggregation workers: the cut of a round, and the answer of each bucket."""

from typing import ClassVar

from pydantic import Field

from schemas.event import Columns, Count, Event, Name, Part, Sequence
from schemas.rounds import Configuration, Integers, LibrarySums, MemberSums, ReleaseCounts, RoundId, RoundKind


class BarrierInstances(Columns):
    """Every instance with an admitted report, sorted by instance_id over all parts."""

    instance_id: tuple[Name, ...] = Field(description="The instance.")
    organisation: tuple[Name, ...] = Field(description="Its organisation.")
    sequence: tuple[Sequence, ...] = Field(description="Of the report that counts.")
    weight: Integers = Field(description="Micro-units after the cap; 0 = not in the cohort.")
    attended: Integers = Field(description="Synchronizations it was in …")
    counted: Integers = Field(description="… out of so many.")


class RoundBarrier(Event):
    """The cut of a round: exactly the named contribution of each instance counts.

    The same barrier, in the same parts, is written into every partition of the contributions.
    """

    topic: ClassVar[str] = "flc.contributions.v1"

    round_id: RoundId
    kind: RoundKind = Field(description="update or synchronization.")
    number: Count = Field(description="Number of the round in its kind.")
    part: Part = Field(description="0 … parts - 1.")
    parts: Part = Field(description="How many parts make the barrier.")
    configuration: Configuration = Field(description="What the result depends on.")
    instances: BarrierInstances = Field(description="The instances of this part.")


class PartialAggregate(Event):
    """What one bucket adds to a round. The last part has the totals.

    The sums stand in the order of the barrier's cohort (weight > 0); part k holds the rows from k * 1,000.
    """

    topic: ClassVar[str] = "flc.partials.v1"

    round_id: RoundId
    bucket: Count = Field(description="Partition of the contributions.")
    buckets: Count = Field(description="How many there are.")
    part: Part = Field(description="0 … parts - 1.")
    parts: Part = Field(description="How many parts make the partial.")
    sums: MemberSums = Field(description="Per cohort instance.")
    library: LibrarySums | None = Field(description="In the last part.")
    releases: ReleaseCounts | None = Field(description="In the last part of a synchronization.")
