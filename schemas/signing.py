"""Signatures of events: Ed25519 over DSSE's pre-authentication encoding of (event type, topic, value bytes).

The topic is part of what is signed, so that an event cannot be replayed on another one. The signature and the
key travel in headers. Source: https://github.com/secure-systems-lab/dsse/blob/master/protocol.md
"""

from nacl.exceptions import BadSignatureError
from nacl.signing import SigningKey, VerifyKey

#: Header with the signer's public key, 64 hex digits.
KEY_HEADER = "flc_key"

#: Header with the signature, 128 hex digits.
SIGNATURE_HEADER = "flc_signature"


def pre_authentication_encoding(event_type: str, topic: str, value: bytes) -> bytes:
    """Return the bytes that are signed: every field is preceded by its length, so none can be shifted."""
    fields = (event_type.encode(), topic.encode(), value)
    return b" ".join((b"DSSEv1", *(b"%d %b" % (len(field), field) for field in fields)))


def public_key(key: SigningKey) -> str:
    """Return the public half as 64 hex digits, which is also its key id."""
    return bytes(key.verify_key).hex()


def sign(key: SigningKey, event_type: str, topic: str, value: bytes) -> dict[str, bytes]:
    """Return the two headers that sign ``value``."""
    signature = key.sign(pre_authentication_encoding(event_type, topic, value)).signature
    return {KEY_HEADER: public_key(key).encode(), SIGNATURE_HEADER: signature.hex().encode()}


def verify(public_key: str, signature: bytes, event_type: str, topic: str, value: bytes) -> bool:
    """Tell whether ``signature`` (128 hex digits, as the header has it) is the key's own for these bytes."""
    try:
        message = pre_authentication_encoding(event_type, topic, value)
        VerifyKey(bytes.fromhex(public_key)).verify(message, bytes.fromhex(signature.decode("ascii")))
    except (BadSignatureError, ValueError):
        return False
    return True
