"""Whatever happens between any two effects of a process: nothing is lost, nothing twice, all of it right."""

import logging
import os
from collections import Counter
from collections.abc import Iterator

import pytest
import structlog

from tests.simulation.sabotage import SABOTAGES
from tests.simulation.schedule import simulate

#: How many schedules the suite runs; ``SIMULATED_SCHEDULES=20000`` looks longer.
SCHEDULES = int(os.environ.get("SIMULATED_SCHEDULES", "240"))

#: Sabotage is noticed within so many schedules.
NOTICED_WITHIN = 200

#: Schedules that failed once, while product or simulation were being written.
REGRESSIONS = (3, 45, 50, 150, 2540, 2994, 6149)


@pytest.fixture(autouse=True)
def _silence() -> Iterator[None]:
    """Nobody reads what a thousand processes log, and writing it takes longer than all else."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    yield
    structlog.configure(**before)


@pytest.mark.parametrize("seed", REGRESSIONS)
def test_a_schedule_that_failed_once_is_right(seed: int) -> None:
    assert simulate(seed).wrong == []


@pytest.mark.timeout(3_600)
def test_every_schedule_ends_with_what_the_replay_recomputes() -> None:
    counts: Counter[str] = Counter()
    for seed in range(1_000, 1_000 + SCHEDULES):
        outcome = simulate(seed)
        assert outcome.wrong == [], f"seed {seed}"
        counts += outcome.counts
    # A simulation in which nothing happens proves nothing.
    trouble = {"killed", "paused", "zombie", "fenced", "late commit refused", "restored"}
    trouble |= {f"commit {fate}, answer lost" for fate in ("done", "never", "later")}
    assert trouble <= set(counts), counts


def test_a_schedule_follows_from_its_seed() -> None:
    first, again = simulate(7), simulate(7)
    assert first == again
    assert sum(finding.compared for finding in first.findings) > 0


@pytest.mark.parametrize("name", SABOTAGES)
def test_sabotage_is_noticed(name: str) -> None:
    with SABOTAGES[name]():
        assert any(simulate(seed).wrong for seed in range(NOTICED_WITHIN))
