"""The replay's own parser refuses what the workers' does, for the same reason."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convergence.replay import documents
from schemas.reports import PatternReport
from tests.bad_input.classes import ANY_JSON, REPORT_JSON, Json
from tests.bad_input.drafts import report
from tests.deployments import NOW_MS, Instance
from tests.workers.test_inbound import report_json
from workers import parsing


@pytest.mark.parametrize("line", [*ANY_JSON, *REPORT_JSON], ids=lambda line: line[0])
def test_json_that_a_lenient_parser_might_take_is_refused(line: Json) -> None:
    _, spoil, reason = line
    assert documents.parse(spoil(report(Instance(), NOW_MS)), PatternReport) is reason


@given(st.data())
def test_a_damaged_report_is_refused_for_the_same_reason(data: st.DataObject) -> None:
    value = bytearray(report_json())
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(value) - 1))
        value[place] = data.draw(st.sampled_from(b'0129-+.eE"{}[],: xNn\\/'))
    assert documents.parse(bytes(value), PatternReport) == parsing.parse(bytes(value), PatternReport)
