"""The contract as files, from the models and topics.yaml: JSON Schemas and one AsyncAPI 3 document.

The files are byte-stable: the same models give the same bytes, so a difference is a change of the contract.
Sources: https://json-schema.org/draft/2020-12, https://www.asyncapi.com/docs/reference/specification/v3.0.0,
https://github.com/asyncapi/bindings/tree/master/kafka
"""

import json
from pathlib import Path
from typing import Any

import yaml

from schemas.catalogue import EVENTS
from schemas.cloudevents import schema_id
from schemas.topics import Topic, Topics, load

#: Where the generated files live; the wheel carries them, too.
DIRECTORY = Path(__file__).parent

#: Version of the contract: an optional field more is a minor change, anything else a new major topic.
VERSION = "1.0.0"

#: The configs that the Kafka binding knows; they are integers there.
_LIMITS = ("retention.ms", "delete.retention.ms", "max.message.bytes")

_DIALECT = "https://json-schema.org/draft/2020-12/schema"


def json_schema(event_type: str) -> dict[str, Any]:
    """Return the JSON Schema of the event's value."""
    schema = EVENTS[event_type].model_json_schema(mode="validation")
    return {"$schema": _DIALECT, "$id": schema_id(event_type), **schema}


def asyncapi(topics: Topics) -> dict[str, Any]:
    """Return the AsyncAPI 3 document of the topics and their events."""
    channels: dict[str, Any] = {}
    operations: dict[str, Any] = {}
    for topic in topics.declared.values():
        identity = topic.name.removeprefix("flc.").replace(".", "-")
        channels[identity] = _channel(topic)
        reference = {"$ref": f"#/channels/{identity}"}
        for action, parties in (("send", topic.producers), ("receive", topic.consumers)):
            for party in parties:
                operations[f"{party}-{action}s-{identity}"] = {"action": action, "channel": reference}
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Federated Learning Convergence System",
            "version": VERSION,
            "description": "Deployments learn together over Apache Kafka, without anybody shipping raw data.",
        },
        "defaultContentType": "application/json",
        "channels": channels,
        "operations": operations,
        "components": {"messages": {event_type: _message(event_type) for event_type in EVENTS}},
    }


def _channel(topic: Topic) -> dict[str, Any]:
    policies = topic.configs["cleanup.policy"].split(",")
    limits = {name: int(topic.configs[name]) for name in _LIMITS if name in topic.configs}
    return {
        "address": topic.name,
        "title": topic.name,
        "description": f"{topic.description} Classification: {topic.classification}.",
        "messages": {event: {"$ref": f"#/components/messages/{event}"} for event in topic.events},
        "bindings": {
            "kafka": {
                "topic": topic.name,
                "partitions": topic.partitions,
                "replicas": topic.replication,
                "topicConfiguration": {"cleanup.policy": policies, **limits},
                "bindingVersion": "0.5.0",
            }
        },
    }


def _message(event_type: str) -> dict[str, Any]:
    description = (EVENTS[event_type].__doc__ or "").split("\n", 1)[0]
    return {
        "name": event_type,
        "title": event_type,
        "summary": description,
        "contentType": "application/json",
        "payload": {
            "schemaFormat": "application/schema+json;version=draft-2020-12",
            "schema": {"$ref": f"./json/{event_type}.json"},
        },
        "bindings": {"kafka": {"bindingVersion": "0.5.0"}},
    }


def documents() -> dict[str, bytes]:
    """Return every generated file by its path below the directory."""
    files = {
        f"json/{event_type}.json": json.dumps(json_schema(event_type), indent=2, ensure_ascii=False).encode()
        + b"\n"
        for event_type in EVENTS
    }
    text = yaml.safe_dump(asyncapi(load()), sort_keys=False, allow_unicode=True, width=110)
    return {**files, "asyncapi.yaml": text.encode()}


def export(directory: Path = DIRECTORY) -> list[str]:
    """Write every file below ``directory``, remove what belongs to no event; return what changed."""
    changed = stale(directory)
    files = documents()
    for name in changed:
        path = directory / name
        if name in files:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(files[name])
        else:
            path.unlink()
    return changed


def stale(directory: Path = DIRECTORY) -> list[str]:
    """Return the files that are missing, differ from the models, or belong to no event, sorted."""
    files = documents()
    differing = {
        name
        for name, content in files.items()
        if not (path := directory / name).exists() or path.read_bytes() != content
    }
    orphans = {f"json/{path.name}" for path in (directory / "json").glob("*.json")} - set(files)
    return sorted(differing | orphans)
