"""What an operator or an instance may ask for."""

from typing import ClassVar

from pydantic import Field

from schemas.event import Inbound, Name, Sequence


class SynchronizationRequested(Inbound):
    """Asks for a synchronization; signed by the operator or by a registered instance.

    While a synchronization collects, the request joins it; later it asks for the next one.
    """

    topic: ClassVar[str] = "flc.commands.v1"

    request_id: Name = Field(description="Unique; the result lists the requests that it answers.")
    requested_by: Name | None = Field(description="The instance that asks; null: the operator.")
    sequence: Sequence = Field(description="max(last + 1, now in Unix ms); the sending time.")
