"""What an instance weighs, from what was observed of it, and the cap on what an organisation weighs."""

from collections.abc import Mapping
from fractions import Fraction
from math import floor

from convergence.replay.exact import ONE, half_up, share

#: So many accepted rows give the full volume factor; no rows give half of it.
FULL_VOLUME_ROWS = 1_000

#: Below so many organisations there is no cap.
MIN_ORGANISATIONS_TO_CAP = 3


def reliability(received: int, expected: int) -> int:
    """Return heartbeats received / expected, at most 1; 1 before the first one is due."""
    return min(ONE, share(received, expected)) if expected else ONE


def data_quality(accepted: int, received: int, low_certainty: int, low_quality: int) -> int:
    """Return accepted rows / (received - low_certainty - low_quality); 1 for 0 of 0."""
    judged = received - low_certainty - low_quality
    return share(accepted, judged) if judged else ONE


def weight(reliability: int, data_quality: int, rows: int, min_weight: int) -> int:
    """Return reliability x data quality x volume factor (0.5 … 1), between the minimum and 1."""
    volume = Fraction(1, 2) + Fraction(min(FULL_VOLUME_ROWS, rows), 2 * FULL_VOLUME_ROWS)
    product = half_up(Fraction(reliability, ONE) * Fraction(data_quality, ONE) * volume * ONE)
    return min(ONE, max(min_weight, product))


def cap(weights: Mapping[str, int], organisations: Mapping[str, str]) -> dict[str, int]:
    """No organisation above its share of the whole; the fewest organisations are cut that make it so."""
    totals: dict[str, int] = {}
    for instance, own in weights.items():
        totals[organisations[instance]] = totals.get(organisations[instance], 0) + own
    if len(totals) < MIN_ORGANISATIONS_TO_CAP:
        return dict(weights)
    most = min(Fraction(1, 2), Fraction(2, len(totals)))
    ranking = sorted(totals, key=lambda organisation: -totals[organisation])
    for cut in range(len(ranking)):
        free = sum(totals[organisation] for organisation in ranking[cut:])
        limit = most * free / (1 - cut * most)  # = most * (free + cut * limit)
        if totals[ranking[cut]] <= limit:
            break
    capped = set(ranking[:cut])
    return {
        instance: max(1, floor(own * limit / totals[organisations[instance]]))
        if organisations[instance] in capped
        else own
        for instance, own in weights.items()
    }
