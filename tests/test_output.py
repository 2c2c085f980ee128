"""What the commands print for people."""

from typing import Any

import pytest

from flc.instances import _row as instance_row
from flc.output import Format, counted, record
from schemas.health import InstanceHealth, Status

FIELDS = {"status": "active", "last_seen_ms": 1_795_530_017_211, "sequence": 1_795_530_017_211, "patterns": 9}


def shown(capsys: pytest.CaptureFixture[str], value: Any) -> dict[str, str]:
    record(value, Format.TABLE)
    return {
        name: text for line in capsys.readouterr().out.splitlines() for name, text in [line.split(None, 1)]
    }


def test_a_moment_is_a_date_for_people_and_a_number_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    assert shown(capsys, FIELDS) == {
        "status": "active",
        "last_seen_ms": "2026-11-24T14:20:17.211+00:00",
        "sequence": "1795530017211",
        "patterns": "9",
    }
    record(FIELDS, Format.JSON)
    assert '"last_seen_ms":1795530017211' in capsys.readouterr().out


def test_a_field_within_another_has_a_line_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    value = {
        "report": {"accepted": 9, "rejected": {}, "refused": None},
        "keys": [{"key": "ab"}, {"key": "cd"}],
    }
    assert shown(capsys, value) == {
        "report.accepted": "9",
        "report.rejected": "{}",
        "report.refused": "-",
        "keys.0.key": "ab",
        "keys.1.key": "cd",
    }


def test_an_instance_is_listed_in_the_units_in_which_it_is_shown() -> None:
    found = InstanceHealth(
        federation="default",
        instance_id="one",
        organisation="acme",
        status=Status.ACTIVE,
        reliability=875_000,
        data_quality=1_000_000,
        pattern_count=9,
        weight=441_438,
        last_seen_ms=None,
        admitted=None,
        judged=None,
        public_keys=(),
    )
    row = instance_row(found)
    assert (row["reliability"], row["data_quality"], row["weight"]) == (0.875, 1.0, 0.4414)


def test_one_thing_is_not_several() -> None:
    assert (counted(1, "instance"), counted(0, "instance")) == ("1 instance", "0 instances")
