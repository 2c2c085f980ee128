"""Converged or not: strictly, on the integers, with the distance of every criterion."""

from dataclasses import replace

import pytest

from learning.criteria import Thresholds, converged, judge
from learning.scores import GlobalScores

JUST_MET = GlobalScores(
    global_convergence=950_001,
    pattern_alignment=900_001,
    global_emergence=850_001,
    convergence_variance=49_999,
    mean_convergence=0,
    weighted_mean_convergence=0,
)


def test_a_federation_just_beyond_every_threshold_has_converged() -> None:
    criteria = judge(JUST_MET, Thresholds())

    assert converged(criteria)
    assert [(criterion.name, criterion.distance_micro) for criterion in criteria] == [
        ("convergence", 1),
        ("alignment", 1),
        ("variance", 1),
        ("emergence", 1),
    ]


@pytest.mark.parametrize(
    ("at_the_threshold", "name"),
    [
        ({"global_convergence": 950_000}, "convergence"),
        ({"pattern_alignment": 900_000}, "alignment"),
        ({"convergence_variance": 50_000}, "variance"),
        ({"global_emergence": 850_000}, "emergence"),
    ],
)
def test_a_score_on_the_threshold_does_not_meet_it(at_the_threshold: dict[str, int], name: str) -> None:
    criteria = judge(replace(JUST_MET, **at_the_threshold), Thresholds())

    assert not converged(criteria)
    assert [criterion.name for criterion in criteria if not criterion.met] == [name]
    assert [criterion.distance_micro for criterion in criteria if not criterion.met] == [0]


def test_the_result_says_by_how_much_a_criterion_is_missed() -> None:
    criteria = judge(replace(JUST_MET, convergence_variance=70_000, pattern_alignment=0), Thresholds())

    assert {
        criterion.name: (criterion.value_micro, criterion.threshold_micro, criterion.distance_micro)
        for criterion in criteria
        if not criterion.met
    } == {
        "alignment": (0, 900_000, -900_000),
        "variance": (70_000, 50_000, -20_000),
    }


def test_other_thresholds_give_another_verdict() -> None:
    assert not converged(judge(JUST_MET, Thresholds(convergence_micro=960_000)))
