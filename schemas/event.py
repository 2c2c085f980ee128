"""What every event has in common, and the types that fields of many events share."""

from typing import Annotated, ClassVar

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

#: One in micro-units: scores, strengths and weights travel as integer millionths.
MICRO = 1_000_000

#: No record on the bus is larger, in bytes.
MAX_RECORD_BYTES = 1024 * 1024

#: An event that lists instances or patterns travels in numbered parts of at most so many rows …
MAX_PART_ROWS = 1_000

#: … and at most so many bytes of JSON.
MAX_PART_BYTES = 900_000

#: A report holds at most so many rows, …
MAX_REPORT_ROWS = 5_000

#: … each of so many observations at most.
MAX_FREQUENCY = 2**31 - 1

#: Times and sequences are exact in every JSON parser up to here.
MAX_EXACT = 2**53

#: The forms of names, of the words for types of patterns, and of signatures, for whole texts.
NAME_FORM = r"[a-z0-9][a-z0-9._-]{0,63}"
WORD_FORM = r"[a-z][a-z0-9_-]{0,31}"
SIGNATURE_FORM = r"[0-9a-f]{32}"

Name = Annotated[
    str,
    StringConstraints(pattern=f"^{NAME_FORM}$"),
    Field(description="Lower-case ASCII letters, digits, '.', '_' and '-', at most 64."),
]
SignatureId = Annotated[str, StringConstraints(pattern=f"^{SIGNATURE_FORM}$")]
PatternType = Annotated[str, StringConstraints(pattern=f"^{WORD_FORM}$")]
KeyId = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]

Count = Annotated[int, Field(ge=0, le=2**63 - 1)]
Milliseconds = Annotated[int, Field(ge=0, le=MAX_EXACT)]
Sequence = Annotated[int, Field(ge=0, le=MAX_EXACT)]
Micro = Annotated[int, Field(ge=0, le=MICRO)]
Ratio = Annotated[float, Field(ge=0, le=1)]
Part = Annotated[int, Field(ge=0, le=1_000_000)]


class Contract(BaseModel):
    """What all models of the contract have in common: strict (nothing is coerced), frozen, finite.

    What was wrong with an input is told without the input: an error may end up in a log.
    """

    model_config = ConfigDict(
        strict=True, frozen=True, extra="ignore", allow_inf_nan=False, hide_input_in_errors=True
    )


class Event(Contract):
    """One event of one federation.

    Readers ignore fields they do not know, so that a later minor version can add an optional one; what
    instances send is closed (see ``Inbound``).
    """

    #: The topic that the event travels on.
    topic: ClassVar[str]

    federation: Name = Field(description="The federation that the event belongs to.")

    def encode(self) -> bytes:
        """Return the event's JSON, the value of its record."""
        return self.model_dump_json().encode()


class Inbound(Event):
    """An event that comes from outside the system: unknown fields are refused."""

    model_config = ConfigDict(extra="forbid")


class Columns(Contract):
    """Parallel arrays: every field is a column, and all columns have the same length."""

    def model_post_init(self, _context: object, /) -> None:
        """Refuse columns of different lengths."""
        lengths = {len(getattr(self, name)) for name in type(self).model_fields}
        if len(lengths) > 1:
            raise ValueError("columns of different lengths")

    def __len__(self) -> int:
        return len(getattr(self, next(iter(type(self).model_fields))))


class Facts(Contract):
    """A group of fields inside an event."""
