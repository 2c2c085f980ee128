"""From what an instance reports to what the federation takes of it."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field, StringConstraints, WithJsonSchema

from schemas.event import (
    MAX_REPORT_ROWS,
    Columns,
    Count,
    Event,
    Facts,
    Inbound,
    Name,
    PatternType,
    Sequence,
)
from schemas.reasons import RowReason

Outcome = Annotated[str, StringConstraints(pattern=r"^(admitted|duplicate|stale|refused:[a-z0-9_]+)$")]
#: Not checked by a pattern: whoever decodes the column checks it, and thousands of rows are looked at once.
Base64 = Annotated[str, WithJsonSchema({"type": "string", "contentEncoding": "base64"})]


class PatternReport(Inbound):
    """The complete set of signatures that an instance holds now, as parallel columns, signed by the instance.

    A newer report replaces an older one. No row at all is valid and says: I hold nothing.
    """

    topic: ClassVar[str] = "flc.reports.v1"

    instance_id: Name = Field(description="The instance that reports.")
    sequence: Sequence = Field(description="max(last + 1, now in Unix ms); grows strictly; the sending time.")
    identity_scheme: Literal["hmac-sha256-v1"] = Field(description="How signature ids are made.")
    key_epoch: Annotated[int, Field(ge=0, le=2**31 - 1)] = Field(
        description="Which federation key the ids were made with."
    )
    signature_id: Annotated[tuple[str, ...], Field(max_length=MAX_REPORT_ROWS)] = Field(
        description="32 lower-case hex digits each."
    )
    pattern_type: Annotated[tuple[str, ...], Field(max_length=MAX_REPORT_ROWS)] = Field(
        description="A short lower-case word each."
    )
    strength: Annotated[tuple[float, ...], Field(max_length=MAX_REPORT_ROWS)] = Field(
        description="In [0, 1]."
    )
    resonance: Annotated[tuple[float, ...], Field(max_length=MAX_REPORT_ROWS)] = Field(
        description="In [0, 1]."
    )
    epistemic_certainty: Annotated[tuple[float, ...], Field(max_length=MAX_REPORT_ROWS)] = Field(
        description="In [0, 1]."
    )
    frequency: Annotated[tuple[int, ...], Field(max_length=MAX_REPORT_ROWS)] = Field(
        description="Observations, 1 … 2^31 - 1."
    )


class Position(Facts):
    """Where a record stands on the bus."""

    topic: str = Field(description="Topic.")
    partition: Count = Field(description="Partition.")
    offset: Count = Field(description="Offset.")


class Admission(Event):
    """The accounting of one authenticated report: received = accepted + the rejected, row by row."""

    topic: ClassVar[str] = "flc.admissions.v1"

    instance_id: Name = Field(description="The instance that reported.")
    sequence: Sequence | None = Field(description="The report's; null if it could not be read.")
    received: Count = Field(description="Rows in the report.")
    accepted: Count = Field(description="Rows that became contributions.")
    rejected: dict[RowReason, Count] = Field(description="Rows that did not, by reason.")
    outcome: Outcome = Field(description="What became of the report.")
    position: Position = Field(description="Where the report stands.")
    registration_offset: Count = Field(description="Offset of the registration it was judged by.")


class ContributionEntries(Columns):
    """Whose rows a contribution holds, in the order of the rows."""

    instance_id: tuple[Name, ...] = Field(description="Contributing instance.")
    organisation: tuple[Name, ...] = Field(description="Its organisation.")
    sequence: tuple[Sequence, ...] = Field(description="The report's; of a removal the last judged one.")
    rows: tuple[Count, ...] = Field(
        description="How many rows of the columns are its; 0 replaces by nothing."
    )
    removed: tuple[bool, ...] = Field(description="True: the instance was deregistered.")


class Contribution(Event):
    """What the privacy worker accepted in one transaction for one bucket, of one or many instances.

    The columns hold the rows of all entries one after the other, in little-endian bytes, as base64.
    """

    topic: ClassVar[str] = "flc.contributions.v1"

    entries: ContributionEntries = Field(description="Whose rows follow.")
    pattern_types: Annotated[tuple[PatternType, ...], Field(max_length=256)] = Field(
        description="The words that the column pattern_type points at."
    )
    signature_id: Base64 = Field(description="16 bytes a row.")
    pattern_type: Base64 = Field(description="uint8 a row, index into pattern_types.")
    strength: Base64 = Field(description="int32 a row, micro-units.")
    resonance: Base64 = Field(description="int32 a row, micro-units.")
    epistemic_certainty: Base64 = Field(description="int32 a row, micro-units.")
    frequency: Base64 = Field(description="int32 a row.")
