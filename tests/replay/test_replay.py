"""A replay of what the workers wrote finds it equal; of what somebody changed, it finds the change."""

import pytest

from convergence.replay.findings import Verdict
from convergence.replay.replay import replay
from tests.replay.world import RULES, World


@pytest.mark.parametrize("seed", range(12))
def test_a_random_federation_is_recomputed_to_the_last_digit(seed: int) -> None:
    world = World(seed).play(60)
    findings = list(replay(world.log(), RULES))
    assert [str(each.difference) for each in findings if each.difference] == []
    assert {finding.verdict for finding in findings} == {Verdict.EQUAL}
    assert [finding.note for finding in findings if finding.note] == []
