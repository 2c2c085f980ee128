"""CloudEvents 1.0 in Kafka's binary mode: the value is the bare JSON, the attributes are headers.

``ce_source`` and ``ce_id`` together are an event's identity: a consumer that sees one twice changes nothing.
Structured mode (``content-type: application/cloudevents+json``) is read, never written.
Source: https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/kafka-protocol-binding.md
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

import orjson

Headers = tuple[tuple[str, bytes], ...]


@dataclass(frozen=True, slots=True)
class Envelope:
    """The attributes of an event and its JSON."""

    id: str
    type: str
    source: str
    data: bytes
    extensions: dict[str, bytes]


def schema_id(event_type: str) -> str:
    """Return the ``$id`` of the schema of an event of major version 1, which its record says, too."""
    return f"urn:flc:{event_type}:1"


def headers(event_id: str, event_type: str, source: str, time_ms: int, subject: str | None = None) -> Headers:
    """Return the headers of an event in binary mode; ``time_ms`` is Unix ms."""
    moment = datetime.fromtimestamp(time_ms / 1000, UTC).isoformat(timespec="milliseconds")
    attributes = {
        "ce_specversion": "1.0",
        "ce_id": event_id,
        "ce_source": source,
        "ce_type": event_type,
        "ce_time": moment.replace("+00:00", "Z"),
        "ce_dataschema": schema_id(event_type),
        "content-type": "application/json",
    }
    if subject is not None:
        attributes["ce_subject"] = subject
    return tuple((name, value.encode()) for name, value in attributes.items())


def read(record_headers: Iterable[tuple[str, bytes]], value: bytes) -> Envelope:
    """Return the event of a record in binary or structured mode.

    Raises ValueError if a header is repeated or has no value, or an attribute is missing, not UTF-8, or of
    another specversion.
    """
    pairs = tuple(record_headers)
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise ValueError("a header is repeated")
    if None in fields.values():
        raise ValueError("a header has no value")
    if fields.get("content-type", b"").startswith(b"application/cloudevents+json"):
        return _structured(fields, value)
    attributes: dict[str, str] = {}
    extensions: dict[str, bytes] = {}
    for name, content in pairs:
        if name.startswith("ce_"):
            attributes[name[3:]] = content.decode()
        else:
            extensions[name] = content
    return _envelope(attributes, value, extensions)


def _structured(fields: dict[str, bytes], value: bytes) -> Envelope:
    document = orjson.loads(value)
    if not isinstance(document, dict) or "data" not in document:
        raise ValueError("not a structured CloudEvent")
    try:
        # Of a key that stands twice orjson takes the last; whoever reads ``data`` could not tell any more.
        json.loads(value, object_pairs_hook=_once)
        data = orjson.dumps(document.pop("data"))
    except (RecursionError, TypeError):  # json reads, and orjson writes, less deeply than orjson reads
        raise ValueError("nested too deeply") from None
    return _envelope({name: str(content) for name, content in document.items()}, data, fields)


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    document = dict(pairs)
    if len(document) != len(pairs):
        raise ValueError("a key stands twice")
    return document


def _envelope(attributes: dict[str, str], data: bytes, extensions: dict[str, bytes]) -> Envelope:
    if attributes.get("specversion") != "1.0":
        raise ValueError("not a CloudEvent of specversion 1.0")
    try:
        return Envelope(attributes["id"], attributes["type"], attributes["source"], data, extensions)
    except KeyError as missing:
        raise ValueError(f"the attribute {missing} is missing") from None
