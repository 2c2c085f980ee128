"""Which partition a record belongs to. The same on every producer, or nothing would be co-partitioned."""

from functools import lru_cache

_MASK = 0xFFFFFFFF


def murmur2(data: bytes) -> int:
    """Return Kafka's 32-bit murmur2 hash of ``data``, as the Java client's partitioner does."""
    length = len(data)
    m = 0x5BD1E995
    h = (0x9747B28C ^ length) & _MASK
    whole = length & ~3
    for i in range(0, whole, 4):
        k = int.from_bytes(data[i : i + 4], "little") * m & _MASK
        k = (k ^ (k >> 24)) * m & _MASK
        h = (h * m & _MASK) ^ k
    if rest := data[whole:]:
        h = (h ^ int.from_bytes(rest, "little")) * m & _MASK
    h = (h ^ (h >> 13)) * m & _MASK
    return h ^ (h >> 15)


@lru_cache(maxsize=65_536)
def key_partition(key: str, partitions: int) -> int:
    """Return the partition of a keyed record: federation/instance_id, or the federation alone."""
    return (murmur2(key.encode()) & 0x7FFFFFFF) % partitions


def bucket(signature_id: str, buckets: int) -> int:
    """Return the bucket of a signature: its first 32 bits modulo the number of buckets."""
    return int(signature_id[:8], 16) % buckets
