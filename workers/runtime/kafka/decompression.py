"""A bound on what a compressed batch may grow to.

aiokafka decodes whole batches without a limit, on the event loop: 6 kB of zstd become 200 MB. Its record
modules hold the decoders as module attributes; ``install`` replaces them there. A batch that grows past the
limit raises ``BatchTooLarge``, as every other undecodable batch raises something.
"""

import gzip
import importlib
import io
import struct
from collections.abc import Callable
from typing import Final

import cramjam

#: Bytes that a decoded batch may have: well above what an honest producer packs into a 1 MiB batch.
MAX_BATCH_BYTES: Final = 16 * 1024 * 1024

#: Bytes of the first output buffer; it grows fourfold up to the limit: an ordinary batch costs little.
_FIRST_BUFFER_BYTES: Final = 256 * 1024

#: Header and size field of the block stream that Java's snappy (xerial) writes.
_XERIAL_MAGIC: Final = b"\x82SNAPPY\x00"
_XERIAL_HEADER_BYTES: Final = 16

Decoder = Callable[[bytes | memoryview], bytes]


class BatchTooLarge(ValueError):  # noqa: N818
    """Raised when a compressed batch grows past the limit."""

    def __init__(self) -> None:
        super().__init__(f"a compressed batch grows past {MAX_BATCH_BYTES} bytes")


def gzip_decode(payload: bytes | memoryview) -> bytes:
    """Return the decoded gzip stream; raises BatchTooLarge, OSError, EOFError or zlib.error."""
    with gzip.GzipFile(fileobj=io.BytesIO(payload)) as stream:
        decoded = stream.read(MAX_BATCH_BYTES + 1)
    if len(decoded) > MAX_BATCH_BYTES:
        raise BatchTooLarge
    return decoded


def snappy_decode(payload: bytes | memoryview) -> bytes:
    """Return the decoded snappy block or xerial stream.

    Raises BatchTooLarge, DecompressionError or struct.error.
    """
    data = bytes(payload)
    if not data.startswith(_XERIAL_MAGIC):
        return _snappy_block(data, MAX_BATCH_BYTES)
    blocks: list[bytes] = []
    room, position = MAX_BATCH_BYTES, _XERIAL_HEADER_BYTES
    while position < len(data):
        (size,) = struct.unpack_from("!I", data, position)
        position += 4
        block = _snappy_block(data[position : position + size], room)
        blocks.append(block)
        room -= len(block)
        position += size
    return b"".join(blocks)


def _snappy_block(block: bytes, room: int) -> bytes:
    # The block states its decoded length, and the decoder holds it to that.
    if cramjam.snappy.decompress_raw_len(block) > room:
        raise BatchTooLarge
    return bytes(cramjam.snappy.decompress_raw(block))


def lz4_decode(payload: bytes | memoryview) -> bytes:
    """Return the decoded lz4 frame; raises BatchTooLarge or DecompressionError."""
    return _into_bounded(cramjam.lz4.decompress_into, payload)


def zstd_decode(payload: bytes | memoryview) -> bytes:
    """Return the decoded zstd frame; raises BatchTooLarge or DecompressionError."""
    return _into_bounded(cramjam.zstd.decompress_into, payload)


def _into_bounded(decompress_into: Callable[[bytes, bytearray], int], payload: bytes | memoryview) -> bytes:
    data = bytes(payload)
    size = min(MAX_BATCH_BYTES, max(_FIRST_BUFFER_BYTES, 4 * len(data)))
    while True:
        buffer = bytearray(size)
        try:
            written = decompress_into(data, buffer)
        except cramjam.DecompressionError as error:
            if "write whole buffer" not in str(error):
                raise
            if size == MAX_BATCH_BYTES:
                raise BatchTooLarge from error
            size = min(MAX_BATCH_BYTES, 4 * size)
        else:
            return bytes(memoryview(buffer)[:written])


_BOUNDED: Final[dict[str, Decoder]] = {
    "gzip_decode": gzip_decode,
    "snappy_decode": snappy_decode,
    "lz4_decode": lz4_decode,
    "zstd_decode": zstd_decode,
}

#: Where aiokafka holds its decoders: the record formats, in C and in Python. The old format has no zstd.
_PLACES: Final[dict[str, tuple[str, ...]]] = {
    "aiokafka.record._crecords.default_records": tuple(_BOUNDED),
    "aiokafka.record.default_records": tuple(_BOUNDED),
    "aiokafka.record._crecords.legacy_records": ("gzip_decode", "snappy_decode", "lz4_decode"),
    "aiokafka.record.legacy_records": ("gzip_decode", "snappy_decode", "lz4_decode"),
}


def install() -> None:
    """Put the bounded decoders into aiokafka; raises RuntimeError if aiokafka holds them elsewhere by now."""
    for place, names in _PLACES.items():
        try:
            module = importlib.import_module(place)
        except ImportError:
            if "_crecords" in place:  # aiokafka was built without its C extension
                continue
            raise
        for name in names:
            if not hasattr(module, name):
                raise RuntimeError(f"{place}.{name} is gone: decompression would be unbounded")
            setattr(module, name, _BOUNDED[name])
