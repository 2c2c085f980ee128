"""The demo's federation: reproducible, admissible, and drifting towards agreement."""

from flc.synthetic import ORGANISATIONS, SyntheticInstance


def test_the_same_seed_gives_the_same_federation_and_another_seed_another() -> None:
    assert SyntheticInstance(1, 0).patterns(3) == SyntheticInstance(1, 0).patterns(3)
    assert SyntheticInstance(1, 0).patterns(3) != SyntheticInstance(2, 0).patterns(3)


def test_every_pattern_passes_the_gates_of_the_federation() -> None:
    for index in range(len(ORGANISATIONS)):
        for number in range(1, 30):
            for pattern in SyntheticInstance(7, index).patterns(number):
                assert pattern.epistemic_certainty >= 0.85
                assert (pattern.strength + pattern.epistemic_certainty) / 2 >= 0.7


def test_in_the_end_all_hold_the_same_patterns_with_nearly_the_same_strength() -> None:
    held = [
        {pattern.pattern_id: pattern for pattern in SyntheticInstance(7, index).patterns(25)}
        for index in range(8)
    ]
    assert all(patterns.keys() == held[0].keys() for patterns in held)
    for identity, pattern in held[0].items():
        assert all(abs(pattern.strength - patterns[identity].strength) < 0.01 for patterns in held)


def test_in_the_beginning_they_do_not() -> None:
    first = [
        {pattern.pattern_id for pattern in SyntheticInstance(7, index).patterns(1)} for index in range(8)
    ]
    assert len({frozenset(patterns) for patterns in first}) == len(first)
