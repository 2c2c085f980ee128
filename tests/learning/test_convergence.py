"""What the scores say of federations that anybody can picture, and when they call them converged.

Strengths and resonances are 0.85 to 0.99 and certainties 0.92 to 0.99 unless a case says otherwise; noise is
on strength and resonance. One organisation an instance, all of full weight.
"""

from collections.abc import Callable
from random import Random

import pytest

from convergence.replay.reference import Row
from learning.criteria import converged
from learning.micro import to_micro
from tests.learning.federations import Federation, compute, equal_federation

Span = tuple[float, float]


def federation(
    instances: int,
    shared: int = 100,
    *,
    own: int = 0,
    held: float = 1.0,
    noise: float = 0.0,
    strength: Span = (0.85, 0.99),
    certainty: Span = (0.92, 0.99),
) -> Federation:
    """Return instances that hold a part of ``shared`` patterns each, and ``own`` ones alone."""
    random = Random(1)  # noqa: S311

    def pattern() -> tuple[str, Callable[[], Row]]:
        s, r, c = random.uniform(*strength), random.uniform(*strength), random.uniform(*certainty)

        def observe() -> Row:
            s_seen, r_seen = (min(1.0, max(0.0, random.gauss(value, noise))) for value in (s, r))
            return "latency", to_micro(s_seen), to_micro(r_seen), to_micro(c), 10

        return random.randbytes(16).hex(), observe

    common = [pattern() for _ in range(shared)]
    return equal_federation(
        {
            f"instance-{i}": {
                signature: observe()
                for signature, observe in [
                    *random.sample(common, round(held * shared)),
                    *(pattern() for _ in range(own)),
                ]
            }
            for i in range(instances)
        }
    )


@pytest.mark.parametrize(
    ("case", "convergence", "alignment", "emergence", "has_converged"),
    [
        pytest.param(federation(2), 0.982, 1.000, 0.968, True, id="2 identical"),
        pytest.param(federation(5), 0.982, 1.000, 0.969, True, id="5 identical"),
        pytest.param(
            federation(5, certainty=(0.86, 0.89)), 0.966, 1.000, 0.948, True, id="5 identical, less certain"
        ),
        pytest.param(federation(10, noise=0.05), 0.964, 0.960, 0.955, True, id="10 with noise 0.05"),
        pytest.param(federation(10, noise=0.1), 0.948, 0.925, 0.941, False, id="10 with noise 0.1"),
        pytest.param(federation(100, noise=0.05), 0.964, 0.960, 0.955, True, id="100 with noise 0.05"),
        pytest.param(federation(10, held=0.97, noise=0.02), 0.956, 0.928, 0.964, True, id="10 hold 97 %"),
        pytest.param(federation(10, held=0.95, noise=0.02), 0.945, 0.896, 0.964, False, id="10 hold 95 %"),
        pytest.param(federation(10, held=0.90, noise=0.02), 0.910, 0.794, 0.964, False, id="10 hold 90 %"),
        pytest.param(federation(10, held=0.80, noise=0.02), 0.870, 0.680, 0.964, False, id="10 hold 80 %"),
        pytest.param(federation(10, held=0.50, noise=0.02), 0.734, 0.325, 0.950, False, id="10 hold 50 %"),
        pytest.param(federation(10, 50, own=2, noise=0.02), 0.963, 0.946, 0.963, True, id="10 hold 2 alone"),
        pytest.param(federation(10, 50, own=5, noise=0.02), 0.948, 0.896, 0.963, False, id="10 hold 5 alone"),
        pytest.param(
            federation(10, 50, own=10, noise=0.02), 0.926, 0.823, 0.963, False, id="10 hold 10 alone"
        ),
        pytest.param(federation(3, 0, own=50), 0.163, 0.000, 0.000, False, id="3 share nothing"),
        pytest.param(
            federation(10, noise=0.02, strength=(0.5, 0.7)),
            0.934,
            0.974,
            0.880,
            False,
            id="10 with weak ones",
        ),
    ],
)
def test_a_federation_is_judged_as_anybody_would(
    case: Federation, convergence: float, alignment: float, emergence: float, *, has_converged: bool
) -> None:
    computed = compute(case, 3)

    overall = computed.scores.overall
    assert overall.global_convergence / 1e6 == pytest.approx(convergence, abs=0.012)
    assert overall.pattern_alignment / 1e6 == pytest.approx(alignment, abs=0.03)
    assert overall.global_emergence / 1e6 == pytest.approx(emergence, abs=0.006)
    assert overall.convergence_variance < 1_000
    assert converged(computed.criteria) == has_converged
