"""Random federations, and how they get into and out of the product: bucket by bucket, in any order."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from random import Random
from typing import Any

import numpy as np

from convergence.replay.reference import Configuration, Reports
from learning.aggregation import Aggregates, Method, aggregate
from learning.cells import Cells, Members
from learning.criteria import Criterion, Thresholds, judge
from learning.partial import Sums, merge, partial
from learning.release import Release, releases
from learning.scores import Scores, score
from schemas.columns import ROW

WORDS = ("anomaly", "drift", "latency", "retry")


@dataclass(frozen=True)
class Federation:
    """What a round is computed from."""

    reports: Reports
    organisations: Mapping[str, str]
    weights: Mapping[str, int]
    participation: Mapping[str, tuple[int, int]]
    configuration: Configuration


@dataclass(frozen=True)
class Round:
    """What the product makes of it, over any number of buckets."""

    members: Members
    aggregates: tuple[Aggregates, ...]
    released: tuple[Release, ...]
    sums: Sums
    scores: Scores
    criteria: tuple[Criterion, ...]


def equal_federation(reports: Reports, configuration: Configuration | None = None) -> Federation:
    """Return a federation of full weights with one organisation for each instance."""
    return Federation(
        reports=reports,
        organisations={instance: f"organisation-of-{instance}" for instance in reports},
        weights=dict.fromkeys(reports, 1_000_000),
        participation={},
        configuration=configuration or Configuration(),
    )


def random_federation(
    random: Random, instances: int, organisations: int, signatures: int, configuration: Configuration
) -> Federation:
    """Return a federation with clones, ties, loners and liars, all drawn from ``random``."""
    names = [f"instance-{i}" for i in range(instances)]
    ids = [random.randbytes(16).hex() for _ in range(signatures)]
    if signatures > 1:
        ids[1] = ids[0][:16] + ids[1][16:]  # the same first 64 bits
    density, spread = random.choice((0.2, 0.6, 1.0)), random.choice((0, 1, 50_000, 500_000))
    middle = {signature: random.randint(0, 1_000_000) for signature in ids}

    def value(signature: str) -> int:
        return min(1_000_000, max(0, middle[signature] + random.randint(-spread, spread)))

    def row(signature: str) -> tuple[str, int, int, int, int]:
        return (
            random.choice(WORDS) if random.random() < 0.1 else WORDS[int(signature[0], 16) % len(WORDS)],
            value(signature),
            value(signature),
            random.randint(850_000, 1_000_000),
            random.choice((1, 2, 3, 1000, 2**31 - 1)),
        )

    lightest, heaviest = random.choice(((1_000_000, 1_000_000), (1, 3), (1, 1_000_000)))
    return Federation(
        reports={
            name: {signature: row(signature) for signature in ids if random.random() < density}
            for name in names
        },
        organisations={name: f"organisation-{random.randrange(organisations)}" for name in names},
        weights={name: random.randint(lightest, heaviest) for name in names},
        participation={
            name: (random.randint(0, counted), counted)
            for name in names
            for counted in [random.randint(0, 10)]
        },
        configuration=configuration,
    )


def members_of(federation: Federation, order: Random) -> Members:
    """Return the cohort, its organisations numbered in any order."""
    codes = sorted({federation.organisations[instance] for instance in federation.weights})
    order.shuffle(codes)
    return Members(
        np.array(
            [codes.index(federation.organisations[instance]) for instance in federation.weights],
            dtype=np.int32,
        ),
        np.array(list(federation.weights.values()), dtype=np.int64),
    )


def cells_of(federation: Federation, buckets: int, order: Random) -> list[Cells]:
    """Return the cells of each bucket, in any order and with pattern types numbered in any order."""
    members = list(federation.weights)
    rows = [
        (members.index(instance), signature, row)
        for instance in members
        for signature, row in federation.reports.get(instance, {}).items()
    ]
    order.shuffle(rows)
    cells = []
    for bucket in range(buckets):
        words = sorted({row[0] for _, _, row in rows} | {"unused"})
        order.shuffle(words)
        mine = [entry for entry in rows if int(entry[1][:8], 16) % buckets == bucket]
        cells.append(
            Cells(
                np.array([member for member, _, _ in mine], dtype=np.int32),
                np.array(
                    [
                        (bytes.fromhex(signature), s, r, c, f, words.index(word))
                        for _, signature, (word, s, r, c, f) in mine
                    ],
                    dtype=ROW,
                ),
                tuple(words),
            )
        )
    return cells


def compute(federation: Federation, buckets: int = 1, order: Random | None = None) -> Round:
    """Compute a round as the workers do: sums travel from every bucket as JSON and merge in any order."""
    order = order or Random(0)  # noqa: S311
    configuration = federation.configuration
    members = members_of(federation, order)
    method = Method(configuration.method, configuration.trim)  # type: ignore[arg-type]
    cells = cells_of(federation, buckets, order)
    aggregates = [aggregate(of_bucket, members, method) for of_bucket in cells]
    parts = [
        over_the_bus(partial(of_bucket, members, said))
        for of_bucket, said in zip(cells, aggregates, strict=True)
    ]
    order.shuffle(parts)
    sums = merge(parts)
    scores = score(
        sums, members, [federation.participation.get(instance, (0, 0)) for instance in federation.weights]
    )
    thresholds = Thresholds(
        configuration.min_convergence,
        configuration.min_alignment,
        configuration.max_variance,
        configuration.min_emergence,
    )
    return Round(
        members=members,
        aggregates=tuple(aggregates),
        released=tuple(
            release for said in aggregates for release in releases(said, configuration.release_threshold)
        ),
        sums=sums,
        scores=scores,
        criteria=judge(scores.overall, thresholds),
    )


def over_the_bus(sums: Sums) -> Sums:
    """Return the sums as they arrive: integers of JSON, none of them beyond 63 bits."""
    members, library = json.loads(json.dumps([sums.member_lists(), sums.library_limbs()]))
    assert all(0 <= value < 2**63 for column in members.values() for value in column)
    assert all(0 <= value < 2**63 for value in library.values())
    return Sums.of(members, library)


def by_signature(aggregates: Aggregates) -> dict[str, dict[str, Any]]:
    """Return aggregates as the reference has them."""
    columns = (
        "weight",
        "weighted_strength",
        "strength",
        "resonance",
        "certainty",
        "total_frequency",
        "instance_count",
        "organisation_count",
        "largest_organisation_weight",
        "consensus_score",
        "in_library",
        "emergence",
    )
    return {
        signature: {name: getattr(aggregates, name)[row].item() for name in columns}
        | {"pattern_type": aggregates.words[int(aggregates.pattern_type[row])]}
        for row, signature in enumerate(aggregates.signature_ids())
    }


def by_instance(federation: Federation, scores: Scores) -> dict[str, dict[str, int]]:
    """Return the scores of the members as the reference has them."""
    return {
        instance: {name: int(column[row]) for name, column in vars(scores.members).items()}
        for row, instance in enumerate(federation.weights)
    }
