"""A round computed a second time, to hold what the workers computed against.

It is deliberately slow and independent: it shares no code with the workers, knows neither numpy nor closed
forms, takes every formula from its definition (means, variances and Jaccard similarities as fractions, a
median by counting), and looks at the whole federation at once instead of at buckets. Everything is rounded
half up, at the same points as in the workers, so both must give the same integers.

An instance's rows are {signature: (pattern type, strength, resonance, certainty, frequency)} in micro-units.
"""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from fractions import Fraction
from math import floor
from typing import Any

from convergence.replay.exact import (
    ONE,
    half_up,
    half_up_root,
    mean,
    share,
    weighted_mean,
    weighted_variance,
)

#: A signature is in the library with so many organisations (fewer if there are not so many) …
LIBRARY_ORGANISATIONS = 3

#: … and so many instances.
LIBRARY_INSTANCES = 2

#: A signature has full reach with so many organisations (likewise).
FULL_REACH = 5

Row = tuple[str, int, int, int, int]
Reports = Mapping[str, Mapping[str, Row]]
Facts = dict[str, Any]


@dataclass(frozen=True)
class Configuration:
    """What a result depends on beside the reports; shares and thresholds in micro-units."""

    method: str = "mean"
    trim: int = 0
    release_threshold: int = 5
    min_convergence: int = 950_000
    min_alignment: int = 900_000
    max_variance: int = 50_000
    min_emergence: int = 850_000


@dataclass(frozen=True)
class Result:
    """Everything that a round computes, in micro-units: by signature, by instance, of the federation."""

    aggregates: dict[str, Facts]
    releases: dict[str, Facts]
    instances: dict[str, Facts]
    federation: Facts
    criteria: dict[str, Facts]
    converged: bool


def middle(pairs: Sequence[tuple[int, int]], configuration: Configuration) -> int:
    """Return the mean, the lower median or the trimmed mean of (weight, value), as configured."""
    whole = sum(weight for weight, _ in pairs)
    ordered = sorted(pairs, key=lambda pair: pair[1])
    if configuration.method == "mean":
        return half_up(weighted_mean(pairs))
    if configuration.method == "median":
        candidates = sorted({value for _, value in pairs})
        return next(v for v in candidates if 2 * sum(w for w, value in pairs if value <= v) >= whole)
    cut = floor(Fraction(configuration.trim, ONE) * whole)
    inside: list[tuple[int, int]] = []
    left = 0
    for own, value in ordered:
        right = left + own
        kept = min(right, whole - cut) - max(left, cut)
        if kept > 0:
            inside.append((kept, value))
        left = right
    return half_up(weighted_mean(inside))


def coefficient_of_variation(pairs: Sequence[tuple[int, int]]) -> int:
    """Divide the standard deviation by the mean, taken as no less than a half."""
    denominator = max(weighted_mean(pairs), Fraction(ONE, 2))
    return half_up_root(weighted_variance(pairs) * ONE**2 / denominator**2)


def aggregate(
    rows: Mapping[str, Row],
    organisations: Mapping[str, str],
    weights: Mapping[str, int],
    cohort_organisations: AbstractSet[str],
    configuration: Configuration,
) -> Facts:
    """Say what the contributors of one signature say together; ``weights`` are those of the whole cohort."""
    by_organisation: dict[str, int] = {}
    by_type: dict[str, int] = {}
    for instance, (pattern_type, *_) in rows.items():
        own, organisation = weights[instance], organisations[instance]
        by_organisation[organisation] = by_organisation.get(organisation, 0) + own
        by_type[pattern_type] = by_type.get(pattern_type, 0) + own
    strength = [(weights[instance], s) for instance, (_, s, _, _, _) in rows.items()]
    resonance = [(weights[instance], r) for instance, (_, _, r, _, _) in rows.items()]
    certainty = [(weights[instance], c) for instance, (_, _, _, c, _) in rows.items()]
    facts: Facts = {
        "weight": sum(by_organisation.values()),
        "weighted_strength": sum(own * value for own, value in strength),
        "strength": middle(strength, configuration),
        "resonance": middle(resonance, configuration),
        "certainty": middle(certainty, configuration),
        "total_frequency": sum(row[4] for row in rows.values()),
        "instance_count": len(rows),
        "organisation_count": len(by_organisation),
        "largest_organisation_weight": max(by_organisation.values()),
        "pattern_type": min(by_type, key=lambda word: (-by_type[word], word)),
    }
    disagreement = coefficient_of_variation(strength) + coefficient_of_variation(resonance)
    agreement = half_up(ONE - Fraction(disagreement, 2))
    facts["consensus_score"] = ONE if len(rows) == 1 else max(0, agreement)
    facts["in_library"] = (
        len(by_organisation) >= min(LIBRARY_ORGANISATIONS, len(cohort_organisations))
        and len(rows) >= LIBRARY_INSTANCES
    )
    if len(cohort_organisations) == 1:
        held, full = len(rows), min(FULL_REACH, len(weights))
    else:
        held, full = len(by_organisation), min(FULL_REACH, len(cohort_organisations))
    reach = share(min(held, full), full)
    intensity = Fraction(facts["strength"] + facts["resonance"], 2)
    factors = reach + intensity + facts["consensus_score"] + facts["certainty"]
    facts["emergence"] = half_up(factors / 4) if facts["in_library"] else 0
    return facts


def releases(aggregates: Mapping[str, Facts], k: int) -> dict[str, Facts]:
    """Choose what leaves the system: values in hundredths, counts on their ladders."""
    released = {}
    for signature, facts in aggregates.items():
        dominated = 2 * facts["largest_organisation_weight"] > facts["weight"]
        if facts["organisation_count"] < k or dominated:
            continue
        released[signature] = {
            "pattern_type": facts["pattern_type"],
            "organisation_count": on_ladder(facts["organisation_count"], k),
            "instance_count": on_ladder(facts["instance_count"], k),
            "total_frequency": max(2**n for n in range(64) if 2**n <= facts["total_frequency"]),
            "hundredths": tuple(
                half_up(Fraction(facts[name], ONE // 100))
                for name in ("strength", "resonance", "certainty", "consensus_score")
            ),
        }
    return released


def on_ladder(count: int, k: int) -> int:
    """Return the largest of k, 10, 20, 50, 100, 200, … that is not above the count."""
    ladder = {k} | {step * 10**power for power in range(1, 12) for step in (1, 2, 5)}
    return max(rung for rung in ladder if rung <= count)


def alignment(own: Mapping[str, Row], weight: int, cohort_weight: int, library: Mapping[str, Facts]) -> int:
    """Generalised Jaccard similarity of an instance to what the others hold on average, in the library."""
    others = cohort_weight - weight
    if not others:
        return ONE
    smaller = larger = Fraction(0)
    for signature in set(own) | set(library):
        held = Fraction(own[signature][1] if signature in own else 0)
        of_others = library[signature]["weighted_strength"] - weight * held if signature in library else 0
        average = Fraction(of_others, others)
        smaller += min(held, average)
        larger += max(held, average)
    return half_up(ONE * smaller / larger) if larger else 0


def instance_scores(
    own: Mapping[str, Row],
    weight: int,
    cohort_weight: int,
    participation: tuple[int, int],
    library: Mapping[str, Facts],
) -> Facts:
    """Return the scores of one instance."""
    shared = [library[signature] for signature in own if signature in library]
    facts: Facts = {
        "alignment": alignment(own, weight, cohort_weight, library),
        "coverage": share(sum(p["weight"] for p in shared), sum(p["weight"] for p in library.values())),
        "quality": mean([row[3] for row in own.values()]),
        "participation": share(*participation) if participation[1] else ONE,
        "resonance": mean([row[2] for row in own.values()]),
        "emergence": mean([p["emergence"] for p in shared]),
    }
    facts["convergence"] = mean([facts["coverage"], facts["quality"], facts["participation"]])
    facts["unified"] = mean([facts["convergence"], facts["emergence"]])
    return facts


def federation_scores(
    weights: Sequence[int], unified: Sequence[int], alignments: Sequence[int], emergence: int
) -> Facts:
    """Return the scores of the federation; of nobody they are zeros."""
    if not weights:
        names = ("convergence", "alignment", "variance", "emergence", "mean", "weighted_mean")
        return dict.fromkeys(names, 0)
    of_unified = list(zip(weights, unified, strict=True))
    facts: Facts = {
        "mean": mean(unified),
        "weighted_mean": half_up(weighted_mean(of_unified)),
        "alignment": half_up(weighted_mean(list(zip(weights, alignments, strict=True)))),
        "variance": half_up(weighted_variance(of_unified) / ONE),
        "emergence": emergence,
    }
    parts = 5 * facts["weighted_mean"] + 3 * facts["alignment"] + 2 * emergence
    facts["convergence"] = half_up(Fraction(parts, 10))
    return facts


def criteria(federation: Facts, configuration: Configuration) -> dict[str, Facts]:
    """Return of each criterion its value, whether it is met, strictly, and by how much."""
    distances = {
        "convergence": federation["convergence"] - configuration.min_convergence,
        "alignment": federation["alignment"] - configuration.min_alignment,
        "variance": configuration.max_variance - federation["variance"],
        "emergence": federation["emergence"] - configuration.min_emergence,
    }
    return {
        name: {"value": federation[name], "met": distance > 0, "distance": distance}
        for name, distance in distances.items()
    }


def compute(
    reports: Reports,
    organisations: Mapping[str, str],
    weights: Mapping[str, int],
    participation: Mapping[str, tuple[int, int]],
    configuration: Configuration,
) -> Result:
    """Compute a whole round. The cohort are the instances in ``weights``; other reports do not count.

    An instance without reports has no rows, one without participation has been in none yet.
    """
    holders: dict[str, dict[str, Row]] = {}
    for instance in weights:
        for signature, row in reports.get(instance, {}).items():
            holders.setdefault(signature, {})[instance] = row
    cohort_organisations = {organisations[instance] for instance in weights}
    aggregates = {
        signature: aggregate(rows, organisations, weights, cohort_organisations, configuration)
        for signature, rows in sorted(holders.items())
    }
    library = {signature: facts for signature, facts in aggregates.items() if facts["in_library"]}
    whole = sum(weights.values())
    instances = {
        instance: instance_scores(
            reports.get(instance, {}), weight, whole, participation.get(instance, (0, 0)), library
        )
        for instance, weight in weights.items()
    }
    federation = federation_scores(
        list(weights.values()),
        [facts["unified"] for facts in instances.values()],
        [facts["alignment"] for facts in instances.values()],
        half_up(weighted_mean([(facts["weight"], facts["emergence"]) for facts in library.values()]))
        if library
        else 0,
    )
    judged = criteria(federation, configuration)
    return Result(
        aggregates=aggregates,
        releases=releases(aggregates, configuration.release_threshold),
        instances=instances,
        federation=federation | {"library": len(library), "distinct": len(aggregates)},
        criteria=judged,
        converged=all(facts["met"] for facts in judged.values()),
    )
