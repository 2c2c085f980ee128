"""The model on paper: costs in proportion, and what breaks first."""

import dataclasses
from typing import Any

import pytest

from benchmarks.document import figures_of, kept
from benchmarks.scaling import (
    COLLECTION_S,
    HEARTBEAT_S,
    MOST_PARTITIONS,
    PHASES,
    Costs,
    Federation,
    limits,
)
from benchmarks.scaling_page import INPUTS, page

WORKERS = ("privacy", "health", "aggregation", *PHASES)


def measured(**given: Any) -> dict[str, Any]:
    """Return figures of 1,000 instances on 6 partitions: 1 ms of CPU and 1 kB in every worker for each."""
    return {
        "costs": {
            "instances": 1_000,
            "partitions": 6,
            "patterns": 100,
            "records": {"PatternReport": 1_000, "RoundBarrier": 6},
            "bytes": {"PatternReport": 6_000_000, "RoundBarrier": 600_000},
            "cpu_microseconds_an_instance": dict.fromkeys((*WORKERS, "broker"), 1_000.0),
            "idle_cpu_microseconds_an_instance": dict.fromkeys(WORKERS, 0.0),
            "memory_bytes_an_instance": dict.fromkeys(WORKERS, 1_000.0),
            "base_mb": dict.fromkeys(WORKERS, 100.0),
            **given,
        },
        "costs heartbeat": {"cpu_microseconds": 100.0},
        "P4": {"milliseconds": 100.0},
        "P5": {"ratio": 64.0, "changelog_bytes_a_cell": 40.0},
        "P5b": {"ratio": 0.2},
        "P5b restore": {"ratio": 3.0},
        "P7": {"megabytes_a_second": {"restore": 20.0}},
        "P8": {"seconds": 9.0},
    }


def of(instances: int, **given: Any) -> Federation:
    return Federation(Costs.of(measured(**given)), instances)


def test_what_was_measured_comes_out_as_it_went_in() -> None:
    same = of(1_000)
    assert same.partitions == 6
    assert same.of_round(same.costs.size_bytes) == pytest.approx(6_600_000)
    assert same.of_round(same.costs.records) == pytest.approx(1_006)


def test_ten_times_the_instances_take_ten_times_the_bytes_and_the_memory() -> None:
    assert of(10_000).state_gb == pytest.approx(10 * of(1_000).state_gb)
    assert of(10_000).phase_gb - 0.1 == pytest.approx(10 * (of(1_000).phase_gb - 0.1))
    assert of(10_000).kept_tb == pytest.approx(10 * of(1_000).kept_tb)


def test_a_barrier_is_written_into_every_partition() -> None:
    many = of(1_000_000)
    assert many.partitions == MOST_PARTITIONS
    barriers = many.of_round({"RoundBarrier": many.costs.size_bytes["RoundBarrier"]})
    assert barriers == pytest.approx(600_000 / 1_000 / 6 * 16 * 1_000_000)


def test_processes_are_as_many_as_the_deadline_of_the_collection_asks_for() -> None:
    at_a_millisecond_each = int(COLLECTION_S * 1_000)
    assert of(at_a_millisecond_each).processes("privacy") == 1
    assert of(at_a_millisecond_each + 1).processes("privacy") == 2


def test_health_has_heartbeats_and_its_looks_at_who_is_silent_to_keep_up_with() -> None:
    assert of(HEARTBEAT_S * 10_000).cores("health") == pytest.approx(1)
    looking = dict.fromkeys(WORKERS, 10.0)
    assert of(100_000, idle_cpu_microseconds_an_instance=looking).cores("health") == pytest.approx(1 / 3 + 1)


def test_what_breaks_first_comes_first() -> None:
    numbers = [limit.instances for limit in limits(of(1).costs)]
    assert numbers == sorted(numbers)
    assert numbers[0] == pytest.approx(5_000)  # acknowledgements of a millisecond each in five seconds


def test_the_worker_that_costs_most_is_the_one_that_is_named() -> None:
    memory = {**dict.fromkeys(WORKERS, 1_000.0), "detection": 9_000.0}
    (limit,) = [
        one
        for one in limits(of(1, memory_bytes_an_instance=memory).costs)
        if one.what.startswith("detection needs")
    ]
    assert limit.instances == pytest.approx(3.9e9 / 9_000)


def test_noise_that_measured_nothing_breaks_nothing() -> None:
    costs = dataclasses.replace(of(1).costs, memory_gb=dict.fromkeys(WORKERS, 0.0))
    assert [
        one.what for one in limits(costs) if one.what.startswith(tuple(f"{phase} needs" for phase in PHASES))
    ] == []


def test_the_page_reaches_a_million_instances() -> None:
    assert "1,000,000 instances" in page(measured())


def test_the_page_is_computed_from_the_figures_that_are_kept() -> None:
    assert figures_of(kept()).keys() >= INPUTS
