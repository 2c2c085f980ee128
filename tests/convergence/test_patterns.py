"""Patterns and lines of them."""

from typing import Any

import numpy as np
import pytest

from convergence.errors import PatternError
from convergence.patterns import LineError, Pattern, read_lines

_LEAST = {"pattern_id": "p", "pattern_type": "behavioral"}


def test_what_is_not_given_has_the_documented_defaults() -> None:
    assert Pattern.from_mapping(_LEAST) == Pattern("p", "behavioral", 1.0, 1.0, 1.0, 1, (), ())


def test_all_fields_are_taken() -> None:
    given = {
        **_LEAST,
        "strength": 0,
        "resonance": 0.25,
        "epistemic_certainty": 1,
        "frequency": 7,
        "modules": ["a", "b"],
        "event_types": ["c"],
    }
    assert Pattern.from_mapping(given) == Pattern("p", "behavioral", 0.0, 0.25, 1.0, 7, ("a", "b"), ("c",))


@pytest.mark.parametrize(
    ("change", "field", "reason"),
    [
        ({"strength": 1.1}, "strength", "not in"),
        ({"strength": float("nan")}, "strength", "not in"),
        ({"resonance": "1"}, "resonance", "not a number"),
        ({"epistemic_certainty": True}, "epistemic_certainty", "not a number"),
        ({"frequency": 0}, "frequency", "not in 1"),
        ({"frequency": 1.0}, "frequency", "not an integer"),
        ({"modules": "a"}, "modules", "not a list"),
        ({"event_types": [""]}, "event_types", "1 to 4096 characters"),
        ({"pattern_type": "Behavioral"}, "pattern_type", "lower-case word"),
        ({"pattern_id": "\ud800"}, "pattern_id", "Unicode"),
        ({"strenght": 1}, "strenght", "unknown field"),
    ],
)
def test_an_error_names_index_and_field(change: dict[str, Any], field: str, reason: str) -> None:
    with pytest.raises(PatternError, match=f"^pattern 3: {field}: .*{reason}") as raised:
        Pattern.from_mapping({**_LEAST, **change}, 3)
    assert (raised.value.index, raised.value.field) == (3, field)


def test_numbers_of_numpy_are_numbers() -> None:
    given = {**_LEAST, "strength": np.float32(0.5), "frequency": np.int64(3), "modules": {"a"}}
    taken = Pattern.from_mapping(given)
    assert (taken.strength, taken.frequency, taken.modules) == (0.5, 3, ("a",))
    assert (type(taken.strength), type(taken.frequency)) == (float, int)


def test_a_missing_field_is_named() -> None:
    with pytest.raises(PatternError, match="pattern 0: pattern_type: missing"):
        Pattern.from_mapping({"pattern_id": "p"})


def test_lines_give_patterns_and_errors_with_their_line() -> None:
    lines = [
        b'{"pattern_id": "a", "pattern_type": "behavioral"}\n',
        b"\n",
        b'{"pattern_id": "b"}\n',
        b"{nonsense\n",
        b"[]\n",
        b'{"pattern_id": "c", "pattern_type": "temporal"}',
    ]
    found = list(read_lines(lines))
    assert [item.pattern_id if isinstance(item, Pattern) else item.line for item in found] == [
        "a",
        3,
        4,
        5,
        "c",
    ]
    assert found[1] == LineError(3, "pattern_type: missing")
    assert isinstance(found[2], LineError)
    assert found[2].reason.startswith("not JSON: ")
    assert found[3] == LineError(5, "not an object")
