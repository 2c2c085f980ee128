"""How large the figures are measured: as the goals say, or small enough to check the harness in minutes."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Sizes:
    """The options of a run; every one of them is an argument of the command, too."""

    #: Reports of a pass from end to end (below 50,000 fixed tails distort) …
    reports: int = 50_000
    #: … of so many instances, with so many patterns each.
    instances: int = 1_000
    patterns: int = 100
    #: Runs of each candidate, of which the first do not count.
    repetitions: int = 5
    warm_up: int = 1
    #: Cells of one aggregation are instances x patterns of this federation, the largest.
    large: int = 10_000
    #: Distinct signatures of the pool from which patterns are drawn, the k-th with a chance of 1/k.
    pool: int = 20_000
    #: Reports of each of them before its state is restored: enough to bring about flushes.
    generations: int = 12
    #: Reports of a pass that looks for a limit, or through one of several numbers of processes or partitions.
    growth_reports: int = 10_000
    #: Publishes that are timed at each load, and synchronizations of the smallest federation.
    samples: int = 20
    #: Partitions of every topic.
    partitions: int = 6

    @property
    def federations(self) -> tuple[int, ...]:
        """Instances of the federations over which growth is measured: ten times as many each, from 10 on."""
        return (*(10**step for step in range(1, 7) if 10**step < self.large), self.large)


FULL = Sizes()

QUICK = Sizes(reports=2_000, instances=500, repetitions=2, large=1_000, growth_reports=2_000, samples=8)
