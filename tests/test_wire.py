"""The wire: partitioning, signatures and CloudEvents, as other implementations have them."""

import pytest
from aiokafka.partitioner import murmur2 as kafkas_murmur2
from hypothesis import given
from hypothesis import strategies as st
from nacl.signing import SigningKey

from schemas import cloudevents, signing
from schemas.partitioning import bucket, key_partition, murmur2


@given(st.binary(max_size=80))
def test_murmur2_is_kafkas(data: bytes) -> None:
    assert murmur2(data) == kafkas_murmur2(data) & 0xFFFFFFFF


def test_a_key_stays_on_its_partition_and_a_signature_in_its_bucket() -> None:
    assert key_partition("default/alpha", 6) == (murmur2(b"default/alpha") & 0x7FFFFFFF) % 6
    assert bucket("0000000a" + "f" * 24, 6) == 10 % 6


@given(st.binary(max_size=200))
def test_a_signature_holds_for_its_own_event_alone(value: bytes) -> None:
    key = SigningKey(b"k" * 32)
    headers = signing.sign(key, "Heartbeat", "flc.heartbeats.v1", value)
    signature, public = headers[signing.SIGNATURE_HEADER], signing.public_key(key)
    assert headers[signing.KEY_HEADER] == public.encode()
    assert signing.verify(public, signature, "Heartbeat", "flc.heartbeats.v1", value)
    assert not signing.verify(public, signature, "PatternReport", "flc.heartbeats.v1", value)
    assert not signing.verify(public, signature, "Heartbeat", "flc.reports.v1", value)
    assert not signing.verify(public, signature, "Heartbeat", "flc.heartbeats.v1", value + b"x")
    other = signing.public_key(SigningKey(b"o" * 32))
    assert not signing.verify(other, signature, "Heartbeat", "flc.heartbeats.v1", value)


@pytest.mark.parametrize("signature", [b"", b"zz", b"00" * 64, b"\xff" * 128])
def test_a_malformed_signature_is_false_and_not_an_error(signature: bytes) -> None:
    public = signing.public_key(SigningKey(b"k" * 32))
    assert not signing.verify(public, signature, "Heartbeat", "flc.heartbeats.v1", b"{}")


def test_the_binary_and_the_structured_mode_give_the_same_event() -> None:
    binary = cloudevents.read(cloudevents.headers("1", "Heartbeat", "/a", 0), b'{"x":1}')
    structured = cloudevents.read(
        [("content-type", b"application/cloudevents+json; charset=UTF-8")],
        b'{"specversion":"1.0","id":"1","type":"Heartbeat","source":"/a","data":{"x":1}}',
    )
    assert (binary.id, binary.type, binary.source, binary.data) == (
        structured.id,
        structured.type,
        structured.source,
        structured.data,
    )


@pytest.mark.parametrize(
    ("headers", "value"),
    [
        ((("ce_id", b"1"), ("ce_id", b"2")), b"{}"),
        ((), b"{}"),
        ((("ce_specversion", b"1.0"), ("ce_id", b"1")), b"{}"),
        ((("ce_specversion", b"0.3"),), b"{}"),
        ((("ce_specversion", b"1.0"), ("ce_id", b"\xff")), b"{}"),
        ((("ce_specversion", b"1.0"), ("ce_id", None)), b"{}"),
        ((("content-type", None),), b"{}"),
        ((("content-type", b"application/cloudevents+json"),), b"[]"),
        ((("content-type", b"application/cloudevents+json"),), b"{"),
        (
            (("content-type", b"application/cloudevents+json"),),
            b'{"specversion":"1.0","id":"1","type":"Heartbeat","source":"/a","data":{"x":1,"x":2}}',
        ),
        (
            (("content-type", b"application/cloudevents+json"),),
            b'{"specversion":"1.0","id":"1","type":"A","source":"/a","data":'
            + b"[" * 1000
            + b"]" * 1000
            + b"}",
        ),
    ],
)
def test_what_is_not_a_cloudevent_is_refused(headers: tuple[tuple[str, bytes], ...], value: bytes) -> None:
    with pytest.raises(ValueError, match=r".*"):
        cloudevents.read(headers, value)
