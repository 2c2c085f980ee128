"""How much an instance counts: by what the federation observed of it, not by what it says of itself.

Nothing that an instance claims but its row count moves its weight, and that at most twofold; and no
organisation outweighs the others, however many instances it enrols.
"""

import numpy as np

from learning.micro import Int64, U, hu

#: So many accepted rows give the full volume factor; no rows give half of it.
FULL_VOLUME_ROWS = 1_000

#: Below so many organisations there is no cap.
MIN_ORGANISATIONS_TO_CAP = 3


def reliability(received: int, expected: int) -> int:
    """Return heartbeats received / expected in micro-units, at most 1; 1 before the first one is due."""
    return min(U, hu(U * received, expected)) if expected else U


def data_quality(accepted: int, received: int, low_certainty: int, low_quality: int) -> int:
    """Return accepted rows / (received - low_certainty - low_quality) in micro-units; 1 for 0 of 0.

    Rows that the gates filtered are no defect: a pattern may honestly be weak. Malformed ones are.
    """
    judged = received - low_certainty - low_quality
    return hu(U * accepted, judged) if judged else U


def weight(reliability_micro: int, data_quality_micro: int, rows: int, min_weight_micro: int) -> int:
    """Return reliability x data quality x volume factor (0.5 … 1), between the minimum (at least 1) and 1."""
    volume = FULL_VOLUME_ROWS + min(FULL_VOLUME_ROWS, rows)
    product = hu(reliability_micro * data_quality_micro * volume, 2 * FULL_VOLUME_ROWS * U)
    return max(min_weight_micro, min(U, product))


def cap(weights: Int64, organisation: np.ndarray) -> Int64:
    """Return the weights with no organisation above min(1/2, 2/N) of the whole, N organisations, N >= 3.

    ``weights`` is an int64[n] column of at least 1 each, ``organisation`` n integer codes. Below three
    organisations nothing is capped. No weight falls below 1, and the cap beats the minimum weight.

    In closed form: take away the largest organisations while what they hold is above their share n/d of the
    whole. If k are capped and the others hold ``free``, a share of the whole is n * free / (d - k * n).
    """
    organisations, member_of = np.unique(organisation, return_inverse=True)
    count = len(organisations)
    if count < MIN_ORGANISATIONS_TO_CAP:
        return weights.copy()
    n, d = (1, 2) if count == MIN_ORGANISATIONS_TO_CAP else (2, count)
    totals = np.zeros(count, dtype=np.int64)
    np.add.at(totals, member_of, weights)

    # Equal totals are capped together, so their order does not matter.
    largest_first = np.argsort(-totals, kind="stable")
    free = int(totals.sum())
    capped = 0
    while int(totals[largest_first[capped]]) * (d - capped * n) > n * free:
        free -= int(totals[largest_first[capped]])
        capped += 1

    is_capped = np.zeros(count, dtype=np.bool_)
    is_capped[largest_first[:capped]] = True
    share = np.maximum(1, weights * (n * free) // ((d - capped * n) * totals[member_of]))
    return np.where(is_capped[member_of], share, weights)
