"""What is shared: the released patterns. Nothing below the release threshold is on the topic that is read."""

from dataclasses import dataclass, replace
from typing import Any

from schemas.knowledge import AggregatedPattern, KnowledgeMark

#: Patterns that are remembered one by one: the last that changed. The count is of all.
REMEMBERED = 200

#: … and shown.
SHOWN = 50


@dataclass(frozen=True, slots=True)
class PatternView:
    """A released pattern, in the rounded values in which it was published."""

    pattern_id: str
    pattern_type: str
    organisations: int
    instances: int
    strength: float
    certainty: float
    consensus_score: float
    #: The synchronization that last changed it.
    number: int
    #: The one that released it for the first time; None: it did not say so, or too long ago.
    emerged: int | None


@dataclass(frozen=True, slots=True)
class PatternsView:
    """How many patterns are released, and those on which the contributors agree most."""

    released: int
    patterns: tuple[PatternView, ...]


class Patterns:
    """The released patterns of a federation, within a bound."""

    def __init__(self) -> None:
        self._patterns: dict[str, PatternView] = {}
        self._released: dict[int, int] = {}
        self._emerged: dict[str, int] = {}

    def release(self, pattern: AggregatedPattern) -> None:
        """Take a pattern that was released or changed."""
        self._patterns.pop(pattern.pattern_id, None)
        self._patterns[pattern.pattern_id] = PatternView(
            pattern_id=pattern.pattern_id,
            pattern_type=pattern.pattern_type,
            organisations=pattern.organisation_count,
            instances=pattern.instance_count,
            strength=pattern.average_strength,
            certainty=pattern.average_epistemic_certainty,
            consensus_score=pattern.consensus_score,
            number=pattern.number,
            emerged=None,
        )
        _bound(self._patterns)

    def withdraw(self, pattern_id: str) -> None:
        """Take a tombstone."""
        self._patterns.pop(pattern_id, None)
        self._emerged.pop(pattern_id, None)

    def mark(self, mark: KnowledgeMark) -> None:
        """Take the mark of a bucket, which says how many patterns are released there."""
        self._released[mark.bucket] = mark.patterns

    def emerge(self, pattern_id: str, number: int) -> None:
        """Take the news that a synchronization released a pattern for the first time."""
        self._emerged.pop(pattern_id, None)
        self._emerged[pattern_id] = number
        _bound(self._emerged)

    def view(self) -> PatternsView:
        """Return what is shared."""
        strongest = sorted(
            self._patterns.values(), key=lambda one: (-one.consensus_score, -one.strength, one.pattern_id)
        )
        return PatternsView(
            released=sum(self._released.values()),
            patterns=tuple(
                replace(one, emerged=self._emerged.get(one.pattern_id)) for one in strongest[:SHOWN]
            ),
        )


def _bound(remembered: dict[str, Any]) -> None:
    """Forget what was remembered first."""
    if len(remembered) > REMEMBERED:
        del remembered[next(iter(remembered))]
