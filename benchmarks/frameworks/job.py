"""The job that the frameworks do, in plain Python: verify, filter, split into buckets.

It imports nothing of the product, for it runs in the environments of the frameworks. Each row becomes a
dictionary, as their documentation advises; what the product does in columns is not asked of them.
"""

from collections.abc import Mapping
from typing import Any

import orjson
from nacl.exceptions import BadSignatureError
from nacl.signing import VerifyKey

BUCKETS = 6

_TYPE, _TOPIC = b"PatternReport", b"flc.reports.v1"


def verified(value: bytes, headers: Mapping[str, bytes]) -> bool:
    """Tell whether the signature in the headers is right: Ed25519 over DSSE's pre-authentication encoding."""
    fields = (_TYPE, _TOPIC, value)
    message = b" ".join((b"DSSEv1", *(b"%d %b" % (len(field), field) for field in fields)))
    key = VerifyKey(bytes.fromhex(headers["flc_key"].decode()))
    try:
        key.verify(message, bytes.fromhex(headers["flc_signature"].decode()))
    except BadSignatureError:
        return False
    return True


def split(value: bytes, last_sequence: int) -> tuple[int, list[dict[str, Any]]]:
    """Return the sequence of a report and what is good enough of it, by bucket; nothing if it is old."""
    report = orjson.loads(value)
    if report["sequence"] <= last_sequence:
        return last_sequence, []
    buckets: list[list[dict[str, Any]]] = [[] for _ in range(BUCKETS)]
    for signature, word, strength, resonance, certainty, frequency in zip(
        report["signature_id"],
        report["pattern_type"],
        report["strength"],
        report["resonance"],
        report["epistemic_certainty"],
        report["frequency"],
        strict=True,
    ):
        if certainty >= 0.85 and strength + certainty >= 1.4:  # noqa: PLR2004  (the gates of the product)
            buckets[int(signature[:8], 16) % BUCKETS].append(
                {
                    "signature_id": signature,
                    "pattern_type": word,
                    "strength": strength,
                    "resonance": resonance,
                    "certainty": certainty,
                    "frequency": frequency,
                }
            )
    contributions = [
        {
            "bucket": number,
            "instance_id": report["instance_id"],
            "sequence": report["sequence"],
            "rows": rows,
        }
        for number, rows in enumerate(buckets)
    ]
    return report["sequence"], contributions
