"""The exported contract: current, valid, and what the models say."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator, ValidationError

from schemas import cloudevents, export
from schemas.catalogue import EVENTS

HEARTBEAT = {
    "federation": "default",
    "instance_id": "alpha",
    "sequence": 1,
    "total_requests": 2,
    "pattern_count": 3,
}


@pytest.fixture
def asyncapi() -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load((export.DIRECTORY / "asyncapi.yaml").read_text())
    return document


def test_the_files_in_the_repository_are_current() -> None:
    assert export.stale() == [], "run: flc schema export"


def test_a_second_export_changes_nothing(tmp_path: Path) -> None:
    assert export.export(tmp_path) == sorted(export.documents())
    assert export.export(tmp_path) == []


def test_a_changed_a_missing_and_an_orphaned_file_are_stale_and_repaired(tmp_path: Path) -> None:
    export.export(tmp_path)
    (tmp_path / "json" / "Heartbeat.json").write_text("{}")
    (tmp_path / "json" / "Admission.json").unlink()
    (tmp_path / "json" / "Gone.json").write_text("{}")
    expected = ["json/Admission.json", "json/Gone.json", "json/Heartbeat.json"]
    assert export.stale(tmp_path) == expected
    assert export.export(tmp_path) == expected
    assert export.stale(tmp_path) == []


@pytest.mark.parametrize("event_type", sorted(EVENTS))
def test_every_event_has_a_valid_schema_that_describes_every_field(event_type: str) -> None:
    schema = json.loads((export.DIRECTORY / "json" / f"{event_type}.json").read_text())
    Draft202012Validator.check_schema(schema)
    headers = dict(cloudevents.headers("id", event_type, "/test", 0))
    assert schema["$id"] == headers["ce_dataschema"].decode()
    assert schema["description"]
    assert set(schema["properties"]) == set(EVENTS[event_type].model_fields)
    assert [name for name, field in schema["properties"].items() if "description" not in field] == []


def test_the_schema_accepts_what_the_model_accepts_and_refuses_an_unknown_field() -> None:
    validator = Draft202012Validator(export.json_schema("Heartbeat"))
    validator.validate(HEARTBEAT)
    with pytest.raises(ValidationError, match="surprise"):
        validator.validate({**HEARTBEAT, "surprise": 1})


def test_every_channel_names_its_topic_and_every_reference_leads_somewhere(asyncapi: dict[str, Any]) -> None:
    messages = asyncapi["components"]["messages"]
    for channel in asyncapi["channels"].values():
        assert channel["bindings"]["kafka"]["topic"] == channel["address"]
        assert channel["bindings"]["kafka"]["partitions"] >= 1
        for name, reference in channel["messages"].items():
            assert reference == {"$ref": f"#/components/messages/{name}"}
            assert EVENTS[name].topic == channel["address"]
    for operation in asyncapi["operations"].values():
        assert operation["channel"]["$ref"].rsplit("/", 1)[-1] in asyncapi["channels"]
    for message in messages.values():
        assert (export.DIRECTORY / message["payload"]["schema"]["$ref"]).is_file()


def test_every_event_travels_on_exactly_one_channel(asyncapi: dict[str, Any]) -> None:
    travelling = [name for channel in asyncapi["channels"].values() for name in channel["messages"]]
    assert sorted(travelling) == sorted(EVENTS)
