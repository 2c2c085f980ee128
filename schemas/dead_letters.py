"""The record of a record that could not be taken."""

from typing import ClassVar

from pydantic import Field

from schemas.event import Contract, Count, Milliseconds, Name
from schemas.reasons import Reason


class DeadLetter(Contract):
    """Why a record was refused and where it stands; never what was in it.

    Above 100 letters a minute of one source partition and reason, one capped letter stands for the rest of
    the minute: for ``count`` records from ``source_offset`` to ``last_offset``; others may stand between.
    """

    topic: ClassVar[str] = "flc.dead-letters.v1"

    federation: Name | None = Field(description="Null if the record does not say.")
    reason: Reason = Field(description="Why.")
    stage: Name = Field(description="The worker that refused it.")
    source_topic: str = Field(description="Where the record stands.")
    source_partition: Count = Field(description="Partition.")
    source_offset: Count = Field(description="Offset; of a capped letter the first one.")
    last_offset: Count = Field(description="Offset; of a capped letter the last one.")
    count: Count = Field(default=1, description="Records that the letter stands for.")
    length: Count = Field(description="Bytes of the record's value; of a capped letter of all its records.")
    digest: str = Field(description="Keyed hash of the value, hex; empty in a capped letter.")
    append_ms: Milliseconds = Field(
        description="When the (first) record was appended, Unix ms, broker time; 0: undecodable."
    )
    version: str = Field(description="Version of the code that refused it.")
    redriven_from: str | None = Field(
        default=None, description="Of a redriven record: where the original stands, topic/partition/offset."
    )
    redrives: Count = Field(default=0, description="How often the record has been redriven.")

    def encode(self) -> bytes:
        """Return the letter's JSON, the value of its record."""
        return self.model_dump_json().encode()
