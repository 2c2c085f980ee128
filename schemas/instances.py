"""What an instance is, and its sign of life."""

from typing import Annotated, ClassVar

from pydantic import Field, StringConstraints

from schemas.event import MAX_EXACT, Count, Facts, Inbound, KeyId, Milliseconds, Name, Sequence

Text = Annotated[str, StringConstraints(max_length=128)]
MetadataKey = Annotated[str, StringConstraints(min_length=1, max_length=64)]
MetadataValue = Annotated[str, StringConstraints(max_length=256)]


class PublicKey(Facts):
    """An Ed25519 public key of an instance and the time in which it is valid."""

    key: KeyId = Field(description="The public key itself, 64 hex digits; also its key id.")
    not_before_ms: Milliseconds = Field(default=0, description="Valid from (Unix ms, broker time).")
    not_after_ms: Milliseconds | None = Field(default=None, description="Valid until; null = no end.")
    revoked: bool = Field(default=False, description="A revoked key is never valid again.")

    def valid_at(self, now_ms: int) -> bool:
        """Tell whether the key counts at ``now_ms`` (Unix ms)."""
        ended = self.not_after_ms is not None and now_ms > self.not_after_ms
        return not self.revoked and self.not_before_ms <= now_ms and not ended


class InstanceRegistered(Inbound):
    """An instance's registration, signed by the operator (or, where enrolment is open, by itself).

    Every change raises ``enrolment``; one that does not is ignored.
    """

    topic: ClassVar[str] = "flc.instances.v1"

    instance_id: Name = Field(description="Unique in the federation.")
    instance_name: Text = Field(description="For people.")
    deployment_region: Text = Field(description="For people.")
    organisation: Name = Field(description="The customer that owns the instance.")
    enrolment: Annotated[int, Field(ge=1, le=MAX_EXACT)] = Field(description="Version of the registration.")
    public_keys: Annotated[tuple[PublicKey, ...], Field(min_length=1, max_length=8)] = Field(
        description="The keys that the instance signs with; two overlap during a rotation."
    )
    heartbeat_period_s: Annotated[int, Field(ge=1, le=60)] = Field(
        default=30, description="Seconds between two heartbeats."
    )
    metadata: Annotated[dict[MetadataKey, MetadataValue], Field(max_length=32)] = Field(
        default_factory=dict, description="Whatever the deployment wants to say about itself."
    )


class InstanceDeregistered(Inbound):
    """The end of an instance: its contributions leave with it. Signed as a registration is."""

    topic: ClassVar[str] = "flc.instances.v1"

    instance_id: Name = Field(description="The instance that leaves.")
    enrolment: Annotated[int, Field(ge=1, le=MAX_EXACT)] = Field(description="Higher than the last one.")


class Heartbeat(Inbound):
    """A sign of life, signed by the instance."""

    topic: ClassVar[str] = "flc.heartbeats.v1"

    instance_id: Name = Field(description="The instance that lives.")
    sequence: Sequence = Field(description="max(last + 1, now in Unix ms); grows strictly.")
    total_requests: Count = Field(description="Requests the instance has served since it started.")
    pattern_count: Count = Field(description="Patterns the instance holds now.")
