"""What a cohort says together of every signature of a bucket."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from learning.cells import Cells, Members
from learning.contributors import Contributors, side_by_side
from learning.location import trimmed_mean, weighted_median
from learning.micro import Int64, U, hu
from learning.variation import variation

#: A signature is in the library with so many organisations (fewer if there are not so many in the cohort) …
LIBRARY_ORGANISATIONS = 3

#: … and so many instances.
LIBRARY_INSTANCES = 2

#: A signature has full reach with so many organisations (likewise).
FULL_REACH = 5


@dataclass(frozen=True)
class Method:
    """How strength, resonance and certainty of a signature are averaged over its contributors.

    ``trim_micro`` is the share of weight that ``trimmed`` takes off each end. Raises ValueError for a setting
    that is impossible: an unknown name, a share below 0 or of a half or more.
    """

    name: Literal["mean", "median", "trimmed"] = "mean"
    trim_micro: int = 0

    def __post_init__(self) -> None:
        if self.name not in {"mean", "median", "trimmed"}:
            raise ValueError(f"unknown aggregation method {self.name!r}")
        if not 0 <= self.trim_micro < U // 2:
            raise ValueError("a share of 0 … below one half can be trimmed off each end")


@dataclass(frozen=True, eq=False)
class Aggregates:
    """One row per distinct signature of a bucket, sorted by id; int64 columns, values in micro-units."""

    #: V16, the id's 16 bytes.
    signature: np.ndarray
    #: W, the summed weight of the contributors.
    weight: Int64
    #: T_s = sum(w * s), exact, micro-units squared.
    weighted_strength: Int64
    strength: Int64
    resonance: Int64
    certainty: Int64
    #: Summed observations.
    total_frequency: Int64
    instance_count: Int64
    organisation_count: Int64
    #: How much the contributors agree on strength and resonance.
    consensus_score: Int64
    #: Weight of the organisation that contributes most.
    largest_organisation_weight: Int64
    #: Code into ``words``, which are sorted.
    pattern_type: Int64
    words: tuple[str, ...]
    #: Held by at least min(3, N) organisations and 2 instances.
    in_library: np.ndarray
    #: Mean of reach, intensity, consensus score and certainty; 0 outside the library.
    emergence: Int64
    #: Of each cell, in the cells' own order: the row of its signature.
    row_of_cell: Int64

    def __len__(self) -> int:
        return len(self.weight)

    def signature_ids(self) -> list[str]:
        """Return the ids as 32 hex digits each."""
        text = self.signature.tobytes().hex()
        return [text[i : i + 32] for i in range(0, len(text), 32)]


def aggregate(cells: Cells, members: Members, method: Method) -> Aggregates:
    """Return the aggregates of one bucket; neither the order of cells nor any code moves the result.

    N is the number of organisations in the cohort, of members without rows in this bucket too. Rows of
    instances outside the cohort must not be among the cells.
    """
    contributors = side_by_side(cells, members)
    rows = cells.rows.take(contributors.order)
    strengths, resonances, certainties, frequencies = (
        rows[column].astype(np.int64) for column in ("strength", "resonance", "certainty", "frequency")
    )
    weighted_strength, weighted_resonance, weighted_certainty = (
        contributors.sum(contributors.weights * values) for values in (strengths, resonances, certainties)
    )
    strength = _middle(strengths, weighted_strength, contributors, method)
    resonance = _middle(resonances, weighted_resonance, contributors, method)
    certainty = _middle(certainties, weighted_certainty, contributors, method)

    instance_count = contributors.sizes()
    organisation_count, largest = _organisations(contributors)
    disagreement = variation(strengths, weighted_strength, contributors)
    disagreement += variation(resonances, weighted_resonance, contributors)
    agreement = np.maximum(0, (2 * U - disagreement + 1) // 2)
    consensus_score = np.where(instance_count == 1, U, agreement)

    in_library = (organisation_count >= min(LIBRARY_ORGANISATIONS, members.organisations)) & (
        instance_count >= LIBRARY_INSTANCES
    )
    reach = _reach(organisation_count, instance_count, members)
    emergence = emergence_of(reach, strength, resonance, consensus_score, certainty)
    words = tuple(sorted(set(cells.words)))
    return Aggregates(
        signature=contributors.signature,
        weight=contributors.weight,
        weighted_strength=weighted_strength,
        strength=strength,
        resonance=resonance,
        certainty=certainty,
        total_frequency=contributors.sum(frequencies),
        instance_count=instance_count,
        organisation_count=organisation_count,
        consensus_score=consensus_score,
        largest_organisation_weight=largest,
        pattern_type=_pattern_type(_ranks(cells, words)[rows["pattern_type"]], contributors),
        words=words,
        in_library=in_library,
        emergence=np.where(in_library, emergence, 0),
        row_of_cell=contributors.row_of_cell,
    )


def emergence_of(
    reach: Int64, strength: Int64, resonance: Int64, consensus_score: Int64, certainty: Int64
) -> Int64:
    """Return the mean of reach, intensity (the mean of strength and resonance), consensus and certainty."""
    return hu(2 * reach + strength + resonance + 2 * consensus_score + 2 * certainty, 8)


def reach_of(held: Int64, most: int) -> Int64:
    """Return how far a signature is spread that ``held`` of ``most`` hold; five already are all."""
    # Nobody holds anything in an empty cohort; the 1 only keeps the empty column defined.
    full = max(1, min(FULL_REACH, most))
    return hu(U * np.minimum(held, full), full)


def _middle(values: Int64, weighted_sum: Int64, contributors: Contributors, method: Method) -> Int64:
    match method.name:
        case "mean":
            return hu(weighted_sum, contributors.weight)
        case "median":
            return weighted_median(values, contributors)
        case "trimmed":
            return trimmed_mean(values, contributors, method.trim_micro)


def _organisations(contributors: Contributors) -> tuple[Int64, Int64]:
    """Return per signature the number of organisations and the weight of the largest of them."""
    new = np.diff(contributors.organisation, prepend=-1) != 0
    new[contributors.start] = True
    run = np.flatnonzero(new)
    first_run = np.searchsorted(run, contributors.start)
    largest: Int64 = np.maximum.reduceat(np.add.reduceat(contributors.weights, run), first_run)
    return np.diff(first_run, append=len(run)), largest


def _reach(organisation_count: Int64, instance_count: Int64, members: Members) -> Int64:
    """Return how far each signature is spread; with one organisation alone its instances count."""
    alone = members.organisations == 1
    held, most = (instance_count, len(members)) if alone else (organisation_count, members.organisations)
    return reach_of(held, most)


def _ranks(cells: Cells, words: tuple[str, ...]) -> Int64:
    """Return for each code of a pattern type its place in the sorted words."""
    rank = {word: code for code, word in enumerate(words)}
    return np.array([rank[word] for word in cells.words], dtype=np.int64)


def _pattern_type(ranks: Int64, contributors: Contributors) -> Int64:
    """Return per signature the type that has the most weight behind it, then the smallest word.

    The type is part of a signature's identity, so honest contributors agree and nothing has to be counted.
    """
    pattern_type: Int64 = np.minimum.reduceat(ranks, contributors.start)
    if np.array_equal(pattern_type, np.maximum.reduceat(ranks, contributors.start)):
        return pattern_type
    types = int(ranks.max()) + 1
    key = contributors.segment * types + ranks
    order = np.argsort(key)
    run = np.flatnonzero(np.diff(key[order], prepend=-1))
    votes = np.add.reduceat(contributors.weights[order], run)
    signature, word = np.divmod(key[order][run], types)
    best_first = np.lexsort((word, -votes, signature))
    return word[best_first][np.searchsorted(signature[best_first], np.arange(len(pattern_type)))]
