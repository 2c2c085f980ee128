"""The bound on compressed batches, and that aiokafka really uses it."""

import gzip
import struct

import aiokafka.codec
import pytest
from aiokafka.record.default_records import DefaultRecordBatch, DefaultRecordBatchBuilder
from aiokafka.record.legacy_records import LegacyRecordBatch, LegacyRecordBatchBuilder

from workers.runtime.kafka import decompression
from workers.runtime.kafka.decompression import MAX_BATCH_BYTES, BatchTooLarge

CODECS = ("gzip", "snappy", "lz4", "zstd")
_NUMBERS = {"gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}

HONEST = bytes(range(256)) * 2_000
BOMB = bytes(MAX_BATCH_BYTES + 1)


def encode(codec: str, payload: bytes) -> bytes:
    """Return the payload as aiokafka's producer compresses it."""
    if codec == "gzip":
        return gzip.compress(payload)
    encoded: bytes = getattr(aiokafka.codec, f"{codec}_encode")(payload)
    return encoded


def decode(codec: str, payload: bytes | memoryview) -> bytes:
    decoded: bytes = getattr(decompression, f"{codec}_decode")(payload)
    return decoded


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("payload", [b"", b"x", HONEST, bytes(MAX_BATCH_BYTES)])
def test_what_fits_is_decoded_as_it_was(codec: str, payload: bytes) -> None:
    encoded = encode(codec, payload)

    assert decode(codec, encoded) == payload
    assert decode(codec, memoryview(encoded)) == payload


@pytest.mark.parametrize("codec", CODECS)
def test_a_bomb_is_refused(codec: str) -> None:
    with pytest.raises(BatchTooLarge):
        decode(codec, encode(codec, BOMB))


def test_a_raw_snappy_block_is_bounded_too() -> None:
    raw = aiokafka.codec.snappy_encode(BOMB, xerial_compatible=False)

    with pytest.raises(BatchTooLarge):
        decode("snappy", raw)


def test_a_snappy_stream_with_a_size_that_lies_is_an_error() -> None:
    encoded = bytearray(encode("snappy", HONEST))
    struct.pack_into("!I", encoded, 16, 2**32 - 1)

    with pytest.raises(Exception, match="snappy"):
        decode("snappy", bytes(encoded))


@pytest.mark.parametrize("codec", CODECS)
def test_nonsense_is_an_error_and_never_data(codec: str) -> None:
    with pytest.raises(Exception, match=r".+"):
        decode(codec, b"\x01nonsense" * 8)


@pytest.mark.parametrize("codec", CODECS)
def test_aiokafka_decodes_a_batch_within_the_bound(codec: str) -> None:
    decompression.install()
    builder = DefaultRecordBatchBuilder(
        magic=2,
        compression_type=_NUMBERS[codec],
        is_transactional=False,
        producer_id=-1,
        producer_epoch=-1,
        base_sequence=-1,
        batch_size=2 * len(BOMB),
    )
    builder.append(offset=0, timestamp=0, key=None, value=BOMB, headers=[])

    with pytest.raises(BatchTooLarge):
        list(DefaultRecordBatch(bytes(builder.build())))


@pytest.mark.parametrize("codec", ["gzip", "snappy", "lz4"])
def test_aiokafka_decodes_a_batch_of_the_old_format_within_the_bound(codec: str) -> None:
    decompression.install()
    builder = LegacyRecordBatchBuilder(magic=1, compression_type=_NUMBERS[codec], batch_size=2 * len(BOMB))
    builder.append(offset=0, timestamp=0, key=None, value=BOMB)

    with pytest.raises(BatchTooLarge):
        list(LegacyRecordBatch(bytes(builder.build()), 1))


def test_no_other_module_of_aiokafka_holds_a_decoder() -> None:
    decompression.install()
    import sys  # noqa: PLC0415  (the modules as they are now)

    unbounded = {
        name
        for name, module in sys.modules.items()
        if name.startswith("aiokafka.")
        and name != "aiokafka.codec"  # defines them; nothing calls them there
        and any(
            getattr(module, f"{codec}_decode", None) is getattr(aiokafka.codec, f"{codec}_decode")
            for codec in CODECS
        )
    }

    assert unbounded == set()


def test_a_decoder_that_moved_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("aiokafka.record.default_records.zstd_decode")

    with pytest.raises(RuntimeError, match="decompression would be unbounded"):
        decompression.install()
