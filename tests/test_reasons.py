"""Every reason is explained, and nothing is explained that is none."""

import re
from pathlib import Path

from schemas.reasons import Reason, RowReason

TEXT = (Path(__file__).parent.parent / "docs" / "dead-letters.md").read_text()


def test_every_reason_for_which_a_record_is_refused_is_explained() -> None:
    assert re.findall(r"^\| `([a-z0-9_]+)` \|", TEXT, re.MULTILINE) == [reason.value for reason in Reason]


def test_every_reason_for_which_a_row_is_refused_is_named() -> None:
    (sentence,) = re.findall(r"Rows of a report are refused as ([^.]+),\s+the first that applies", TEXT)
    assert re.findall(r"`([a-z_]+)`", sentence) == [reason.value for reason in RowReason]
