"""Pattern identity: what lets two instances find that they hold the same pattern, and nobody else guess it.

It is computed at the edge, in the deployment. The federation key never leaves the deployments, so neither
workers nor brokers can test a guess.
"""

import hmac
import unicodedata
from collections.abc import Sequence

#: Separates these hashes from any other use of the federation key.
DOMAIN_TAG = "flc/signature/hmac-sha256-v1"

#: A federation key has at least so many bytes; a shorter one could be guessed.
MIN_KEY_BYTES = 16

#: Of the hash, so many bytes are the identity.
_ID_BYTES = 16


def signature_id(
    key: bytes, pattern_type: str, modules: Sequence[str], event_types: Sequence[str], pattern_id: str
) -> str:
    """Return the signature of a pattern: the first 128 bits of an HMAC-SHA-256 as 32 lower-case hex digits.

    Hashed are a domain tag, the pattern type, the modules and the event types. The order of modules and of
    event types means nothing, nor does how Unicode composes a character (NFC). ``pattern_id`` takes part only
    when modules and event types are both empty: it is a local name, and two instances seldom share it.

    Every text is preceded by its length and every list by its count, so no two different patterns are framed
    alike. Raises ValueError for a key below 16 bytes and for text that is not Unicode (lone surrogates).
    """
    if len(key) < MIN_KEY_BYTES:
        raise ValueError(f"a federation key has at least {MIN_KEY_BYTES} bytes, not {len(key)}")
    message = _text(DOMAIN_TAG) + _text(pattern_type) + _texts(modules) + _texts(event_types)
    if not modules and not event_types:
        message += _text(pattern_id)
    return hmac.digest(key, message, "sha256")[:_ID_BYTES].hex()


def _length(count: int) -> bytes:
    return count.to_bytes(8, "big")


def _text(text: str) -> bytes:
    encoded = unicodedata.normalize("NFC", text).encode()
    return _length(len(encoded)) + encoded


def _texts(texts: Sequence[str]) -> bytes:
    # Sorted after normalising, or two spellings of one name could change the order.
    normal = sorted(unicodedata.normalize("NFC", text) for text in texts)
    return _length(len(normal)) + b"".join(map(_text, normal))
