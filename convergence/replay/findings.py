"""What a replay finds: of each subject whether the log says what it must, and where it first does not."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from pydantic import BaseModel


class Verdict(StrEnum):
    """What came out of recomputing something."""

    EQUAL = "equal"
    DIFFERENT = "different"
    OUTSIDE = "outside the window"
    UNDER_WAY = "under way"


@dataclass(frozen=True)
class Difference:
    """Where the log first says something else than what follows from it; None stands for nothing at all."""

    where: str
    recorded: Any
    recomputed: Any

    def __str__(self) -> str:
        return f"{self.where}: recorded {_shown(self.recorded)}, recomputed {_shown(self.recomputed)}"


@dataclass(frozen=True)
class Finding:
    """The verdict on one subject: a round, or one kind of records."""

    subject: str
    verdict: Verdict
    #: Events that were recomputed and compared.
    compared: int = 0
    difference: Difference | None = None
    #: Why it could not be recomputed, or what is still missing.
    note: str = ""


class DifferentError(Exception):
    """Raised inside a replay at the first difference of a subject."""

    def __init__(self, difference: Difference) -> None:
        super().__init__(str(difference))
        self.difference = difference


class OutsideError(Exception):
    """Raised inside a replay when the log no longer holds what a subject depends on."""


class UnderWayError(Exception):
    """Raised inside a replay when the workers may not yet have come to the end of a subject."""


class Comparison:
    """Counts what is compared, and stops at the first difference."""

    def __init__(self) -> None:
        self.compared = 0

    def events(self, where: str, recorded: BaseModel, recomputed: BaseModel, *given: str) -> None:
        """Compare two events field by field, but for the fields that are ``given`` (decisions).

        Raises DifferentError.
        """
        ours, theirs = recomputed.model_dump(mode="json"), recorded.model_dump(mode="json")
        for name in given:
            ours.pop(name, None)
            theirs.pop(name, None)
        self.values(where, theirs, ours)

    def values(self, where: str, recorded: Any, recomputed: Any) -> None:
        """Compare two values; raises DifferentError with the path to what differs."""
        self.compared += 1
        difference = first_difference(where, recorded, recomputed)
        if difference is not None:
            raise DifferentError(difference)


def first_difference(where: str, recorded: Any, recomputed: Any) -> Difference | None:
    """Return the first place at which two trees of mappings, sequences and values differ, or None."""
    if recorded == recomputed:  # nearly always, and a hundred times as fast as a walk
        return None
    pairs: Iterable[tuple[str, Any, Any]]
    if isinstance(recorded, Mapping) and isinstance(recomputed, Mapping):
        keys = [*recomputed, *(key for key in recorded if key not in recomputed)]
        pairs = ((f"{where}.{key}", recorded.get(key), recomputed.get(key)) for key in keys)
    elif _is_list(recorded) and _is_list(recomputed) and len(recorded) == len(recomputed):
        pairs = (
            (f"{where}[{place}]", theirs, ours)
            for place, (theirs, ours) in enumerate(zip(recorded, recomputed, strict=True))
        )
    else:
        return Difference(where, recorded, recomputed)
    found = (first_difference(*pair) for pair in pairs)
    return next((difference for difference in found if difference is not None), None)


def examined(subject: str, examine: Callable[[Comparison], str | None]) -> Finding:
    """Return the finding on a subject that ``examine`` goes through; what it returns is a note."""
    comparison = Comparison()
    try:
        note = examine(comparison) or ""
    except DifferentError as error:
        return Finding(subject, Verdict.DIFFERENT, comparison.compared, error.difference)
    except OutsideError as error:
        return Finding(subject, Verdict.OUTSIDE, comparison.compared, note=str(error))
    except UnderWayError as error:
        return Finding(subject, Verdict.UNDER_WAY, comparison.compared, note=str(error))
    return Finding(subject, Verdict.EQUAL, comparison.compared, note=note)


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)


def _shown(value: Any, longest: int = 120) -> str:
    text = "nothing" if value is None else repr(value)
    return text if len(text) <= longest else f"{text[:longest]}…"
