"""What one bucket adds to a round, from the definitions of the sums: the answer to a barrier, once more."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

from convergence.replay.reference import Facts, Reports
from schemas.partitioning import bucket
from schemas.rounds import LibrarySums, MemberSums

_LIMB = 1 << 32


V = TypeVar("V")


def held_in(of: Mapping[str, V], number: int, buckets: int) -> dict[str, V]:
    """Return what stands under the signatures that fall into a bucket."""
    return {signature: value for signature, value in of.items() if bucket(signature, buckets) == number}


def member_sums(
    aggregates: Mapping[str, Facts], reports: Reports, weights: Mapping[str, int]
) -> dict[str, dict[str, int]]:
    """Return of each instance of the cohort the sums over its rows among these signatures."""
    whole = sum(weights.values())
    return {
        instance: _sums_of(aggregates, reports.get(instance, {}), weight, whole - weight)
        for instance, weight in weights.items()
    }


def _sums_of(
    aggregates: Mapping[str, Facts], own: Mapping[str, Any], weight: int, others: int
) -> dict[str, int]:
    rows = {signature: row for signature, row in own.items() if signature in aggregates}
    shared = {signature: row for signature, row in rows.items() if aggregates[signature]["in_library"]}
    overlap = sum(
        min(row[1] * others, aggregates[signature]["weighted_strength"] - weight * row[1])
        for signature, row in shared.items()
    )
    return {
        "overlap_hi": overlap // _LIMB,
        "overlap_lo": overlap % _LIMB,
        "own_strength": sum(row[1] for row in rows.values()),
        "shared_strength": sum(row[1] for row in shared.values()),
        "shared_weight": sum(aggregates[signature]["weight"] for signature in shared),
        "shared_emergence": sum(aggregates[signature]["emergence"] for signature in shared),
        "certainty": sum(row[3] for row in rows.values()),
        "resonance": sum(row[2] for row in rows.values()),
        "rows": len(rows),
        "shared": len(shared),
    }


def columns(instances: Iterable[str], sums: Mapping[str, Mapping[str, int]]) -> MemberSums:
    """Return the sums as columns in the order of ``instances``; whoever has none gets zeros."""
    rows: Sequence[Mapping[str, int]] = [sums.get(instance, {}) for instance in instances]
    return MemberSums(**{name: tuple(row.get(name, 0) for row in rows) for name in MemberSums.model_fields})


def library_sums(aggregates: Mapping[str, Facts]) -> LibrarySums:
    """Return the sums over those of the signatures that are in the library."""
    library = [facts for facts in aggregates.values() if facts["in_library"]]
    strength = sum(facts["weighted_strength"] for facts in library)
    weight = sum(facts["weight"] for facts in library)
    emergence = sum(facts["weight"] * facts["emergence"] for facts in library)
    return LibrarySums(
        strength_hi=strength // _LIMB,
        strength_lo=strength % _LIMB,
        weight_hi=weight // _LIMB,
        weight_lo=weight % _LIMB,
        emergence_hi=emergence // _LIMB,
        emergence_lo=emergence % _LIMB,
        library=len(library),
        distinct=len(aggregates),
    )
