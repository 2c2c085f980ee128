"""P3: the mathematics of a round, against what numpy alone needs to sort the cells and sum the columns."""

import os

import numpy as np

from benchmarks import straightforward
from benchmarks.figure import Figure, growth
from benchmarks.load import WORDS, Population
from benchmarks.measurement import Spread, in_turn, peak_mb, ratios
from benchmarks.sizes import Sizes
from learning.aggregation import Method, aggregate
from learning.cells import Cells, Members
from learning.partial import partial
from learning.scores import Scores, score
from schemas.columns import ROW, decode
from schemas.reports import Contribution
from workers.contributions import Entry, contributions

#: Reports of one contribution, as a busy privacy worker writes them.
REPORTS_A_RECORD = 50

#: The program of dictionaries gets this share of the instances: it needs as long as everything else.
SHARE_OF_DICTIONARIES = 10


def numpy_alone(cells: Cells, members: Members) -> list[np.ndarray]:
    """Sort the cells by their 16-byte ids and sum seven columns: neither scores, nor exact beyond 2^63."""
    rows = cells.rows
    signature = np.ascontiguousarray(rows["signature"]).view("S16")
    order = np.argsort(signature)
    ordered = signature[order]
    start = np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1]))
    weight = members.weight[cells.member[order]]
    strength, resonance, certainty, frequency = (
        rows[name][order].astype(np.int64) for name in ("strength", "resonance", "certainty", "frequency")
    )
    columns = (
        weight,
        weight * strength,
        weight * resonance,
        weight * certainty,
        strength * strength,
        resonance * resonance,
        frequency,
    )
    return [np.add.reduceat(column, start) for column in columns]


def scored(cells: Cells, members: Members) -> Scores:
    """Aggregate and score, as the workers do."""
    aggregates = aggregate(cells, members, Method())
    return score(partial(cells, members, aggregates), members, [(0, 0)] * len(members))


def records(population: Population, buckets: int) -> list[tuple[int, bytes]]:
    """Return the cells as contributions, each with its bucket."""
    encoded = []
    for first in range(0, population.instances, REPORTS_A_RECORD):
        rows = population.rows[first : first + REPORTS_A_RECORD]
        entries = [
            Entry(f"i{number}", population.organisation(number), 1)
            for number in range(first, first + len(rows))
        ]
        entry = np.repeat(np.arange(len(rows)), population.patterns)
        parts = contributions("benchmark", entries, rows.reshape(-1), entry, WORDS, bucket_count=buckets)
        encoded += [(bucket, event.encode()) for bucket, event in parts]
    return encoded


def decoded(values: list[tuple[int, bytes]], member: np.ndarray) -> Cells:
    """Return the cells of contributions."""
    rows = [decode(Contribution.model_validate_json(value)) for _, value in values]
    return Cells(member, np.concatenate(rows).astype(ROW, copy=False), WORDS)


def cpu_of(population: Population, sizes: Sizes) -> float:
    """Return the CPU seconds of aggregating and scoring everything."""
    cells, members = population.cells(), population.members()
    costs = in_turn({"scored": lambda: scored(cells, members)}, repetitions=sizes.repetitions)["scored"]
    return Spread.of([cost.cpu_seconds for cost in costs]).median


def figures(sizes: Sizes) -> list[Figure]:
    """Measure; the ratios are of CPU seconds, which a busy machine disturbs least."""
    population = Population(sizes.large, sizes.patterns, sizes.pool)
    cells, members, values = population.cells(), population.members(), records(population, 1)
    few = Population(sizes.large // SHARE_OF_DICTIONARIES, sizes.patterns, sizes.pool)
    dictionaries = straightforward.held(few.cells())
    few_members = few.members()
    costs = in_turn(
        {
            "numpy": lambda: numpy_alone(cells, members),
            "scored": lambda: scored(cells, members),
            "decoded": lambda: scored(decoded(values, cells.member), members),
            "dictionaries": lambda: straightforward.scores(dictionaries, few_members),
        },
        repetitions=sizes.repetitions,
        warm_up=sizes.warm_up,
    )
    cpu = {name: [cost.cpu_seconds for cost in of] for name, of in costs.items()}
    milliseconds = {f"{name}_ms": Spread.of(of).median * 1e3 for name, of in cpu.items()}
    details = {"cells": len(cells), **milliseconds, "peak_mb": peak_mb(os.getpid())}
    limit = "" if len(cells) >= 1_000_000 else "measured with few cells: the goal is for 1,000,000"  # noqa: PLR2004
    curve = {
        instances: cpu_of(Population(instances, sizes.patterns, sizes.pool), sizes)
        for instances in sizes.federations
    }
    by_cell = [seconds * SHARE_OF_DICTIONARIES for seconds in cpu["dictionaries"]]
    return [
        Figure(
            "P3",
            f"aggregate and score {len(cells):,} decoded cells / numpy's argsort and seven reduceats",
            1.0,
            "at most",
            ratios(cpu["scored"], cpu["numpy"]),
            details,
            limit,
        ),
        Figure(
            "P3 decoding",
            "the same, with decoding the contributions",
            2.0,
            "at most",
            ratios(cpu["decoded"], cpu["numpy"]),
            details,
            limit,
        ),
        Figure(
            "P3 dicts",
            "a program with a dictionary for each pattern / aggregate and score, by cell",
            None,
            "at least",
            ratios(by_cell, cpu["scored"]),
            details,
            f"the dictionaries hold a {SHARE_OF_DICTIONARIES}th of the instances",
        ),
        growth(
            "P3 growth",
            "exponent of the CPU time of aggregate and score",
            curve,
            over="instances",
            unit="CPU seconds",
        ),
    ]
