"""What the system knows of an instance's life."""

from enum import StrEnum
from typing import ClassVar

from pydantic import Field

from schemas.event import Count, Event, Facts, Micro, Milliseconds, Name, Sequence
from schemas.instances import PublicKey
from schemas.reports import Outcome


class Status(StrEnum):
    """The life of an instance."""

    ACTIVE = "active"
    DEGRADED = "degraded"
    INACTIVE = "inactive"
    UNKNOWN = "unknown"


class Admitted(Facts):
    """The last admitted report of an instance."""

    sequence: Sequence = Field(description="The report's sequence.")
    append_ms: Milliseconds = Field(description="When its admission was appended (Unix ms, broker time).")


class Judged(Facts):
    """The last judged report of an instance, admitted or refused."""

    sequence: Sequence | None = Field(description="The report's; null if it could not be read.")
    outcome: Outcome = Field(description="What became of it.")


class InstanceHealth(Event):
    """An instance as the federation sees it now; a tombstone says that it was deregistered."""

    topic: ClassVar[str] = "flc.health.v1"

    instance_id: Name = Field(description="The instance.")
    organisation: Name = Field(description="Its organisation.")
    status: Status = Field(description="active, degraded (3 periods silent), inactive, unknown (never seen).")
    reliability: Micro = Field(description="Heartbeats received / expected over the last 20 periods.")
    data_quality: Micro = Field(description="Well-formed share of the rows of the last 20 reports.")
    pattern_count: Count = Field(description="Rows accepted of the last admitted report.")
    weight: Micro = Field(description="reliability x data_quality x volume factor, before the cap.")
    last_seen_ms: Milliseconds | None = Field(description="Last signed traffic (Unix ms, broker time).")
    admitted: Admitted | None = Field(description="The last admitted report.")
    judged: Judged | None = Field(description="The last judged report.")
    public_keys: tuple[PublicKey, ...] = Field(description="Keys that are or become valid.")
    skew_ms: int = Field(default=0, description="Sending time minus append time of the last traffic.")
