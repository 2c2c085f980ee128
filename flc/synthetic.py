"""A small synthetic federation: what its instances hold in each round, reproducible from a seed.

Every instance observes the same product, so all drift towards the same truth: round by round one finds
more of the shared patterns, its estimates of their strength come closer, and its private ones fade.
"""

from dataclasses import dataclass
from random import Random

from convergence.patterns import Pattern

#: Organisation of each instance, one each: six are enough for a release threshold of five.
ORGANISATIONS = ("acorn", "birch", "cedar", "dogwood", "elder", "fir", "gorse", "hazel")

_MODULES = ("checkout", "search", "billing", "login", "catalogue", "shipping")
_EVENT_TYPES = ("timeout", "retry", "cache-miss", "slow-query", "throttled", "recovered")
_PATTERN_TYPES = ("performance", "reliability", "usage")

#: Patterns that are there to be found.
_SHARED = 18

#: Patterns that only one instance sees, in the first round.
_PRIVATE = 2

#: Share of the shared patterns that an instance finds in the first round.
_AT_ONCE = 0.8

#: An instance has found every shared pattern after so many rounds at the latest.
_LAST_DISCOVERY = 8

#: What is left of the disagreement from one round to the next.
_FADING = 0.7


@dataclass(frozen=True, slots=True)
class SyntheticInstance:
    """One instance of the federation, by its place in it."""

    seed: int
    index: int

    @property
    def organisation(self) -> str:
        """The organisation that owns it."""
        return ORGANISATIONS[self.index % len(ORGANISATIONS)]

    @property
    def region(self) -> str:
        """Where it runs."""
        return ("eu-central", "us-east", "ap-south")[self.index % 3]

    def patterns(self, number: int) -> list[Pattern]:
        """Return what the instance holds in round ``number`` (from 1)."""
        disagreement = _FADING ** (number - 1)
        held = [_shared(self.seed, self.index, place, disagreement, number) for place in range(_SHARED)]
        private = round(_PRIVATE * disagreement)
        return [pattern for pattern in held if pattern] + [self._private(place) for place in range(private)]

    def _private(self, place: int) -> Pattern:
        draw = _random(self.seed, "private", self.index, place)
        return Pattern(
            pattern_id=f"local-{self.index}-{place}",
            pattern_type=draw.choice(_PATTERN_TYPES),
            strength=round(draw.uniform(0.55, 0.7), 4),
            resonance=round(draw.uniform(0.4, 0.7), 4),
            epistemic_certainty=0.88,
            frequency=draw.randint(1, 50),
        )


def _shared(seed: int, index: int, place: int, disagreement: float, number: int) -> Pattern | None:
    truth = _random(seed, "truth", place)
    strength = truth.uniform(0.72, 0.97)
    own = _random(seed, "own", index, place)
    # Most of what there is to see is seen at once, the rest is found over the rounds.
    found = 1 if own.random() < _AT_ONCE else own.randint(2, _LAST_DISCOVERY)
    if number < found:
        return None
    return Pattern(
        pattern_id=f"shared-{place}",
        pattern_type=_PATTERN_TYPES[place % len(_PATTERN_TYPES)],
        strength=round(min(1.0, max(0.56, strength + own.uniform(-0.25, 0.25) * disagreement)), 4),
        resonance=round(min(1.0, 0.95 - own.uniform(0, 0.4) * disagreement), 4),
        epistemic_certainty=round(0.99 - own.uniform(0, 0.12) * disagreement, 4),
        frequency=10 + number * own.randint(1, 40),
        modules=(_MODULES[place % len(_MODULES)],),
        event_types=(_EVENT_TYPES[place // 3],),
    )


def _random(*words: object) -> Random:
    return Random("/".join(map(str, words)))  # noqa: S311  (made-up data, not a secret)
