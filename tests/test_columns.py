"""The columns of a contribution go out as base64 and come back the same."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas import columns
from schemas.columns import ROW, Rows
from schemas.partitioning import bucket
from schemas.reports import Contribution, ContributionEntries

ROWS = st.lists(
    st.tuples(
        st.binary(min_size=16, max_size=16),
        *(st.integers(0, 2**31 - 1) for _ in range(4)),
        st.integers(0, 1),
    ),
    max_size=20,
).map(lambda rows: np.array(rows, ROW))


def contribution(rows: Rows, words: tuple[str, ...] = ("error", "latency")) -> Contribution:
    entries = ContributionEntries(
        instance_id=("alpha", "beta"),
        organisation=("acme", "bolt"),
        sequence=(1, 2),
        rows=(len(rows), 0),
        removed=(False, True),
    )
    return Contribution(federation="default", entries=entries, pattern_types=words, **columns.encode(rows))


@given(ROWS)
def test_rows_survive_the_bus(rows: Rows) -> None:
    event = Contribution.model_validate_json(contribution(rows).encode())
    assert columns.decode(event).tobytes() == rows.tobytes()


@given(ROWS, st.integers(1, 16))
def test_buckets_are_those_of_the_ids(rows: Rows, count: int) -> None:
    assert columns.buckets(rows, count).tolist() == [
        bucket(one, count) for one in columns.signature_ids(rows)
    ]


def test_a_column_of_another_length_is_refused() -> None:
    event = contribution(np.zeros(2, ROW)).model_copy(update={"strength": ""})
    with pytest.raises(ValueError, match="strength"):
        columns.decode(event)


def test_a_type_without_a_word_is_refused() -> None:
    with pytest.raises(ValueError, match="points at no word"):
        columns.decode(contribution(np.zeros(2, ROW), words=()))


def test_people_read_names_and_fractions() -> None:
    row = np.array([(b"\1" + b"\0" * 15, 900_000, 800_000, 950_000, 3, 1)], ROW)
    first, second = columns.readable(contribution(row))
    assert first["rows"] == [
        {
            "signature_id": "01" + "00" * 15,
            "pattern_type": "latency",
            "strength": 0.9,
            "resonance": 0.8,
            "epistemic_certainty": 0.95,
            "frequency": 3,
        }
    ]
    assert (second["instance_id"], second["removed"], second["rows"]) == ("beta", True, [])
