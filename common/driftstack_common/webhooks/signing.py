"""Signatures of deliveries: HMAC-SHA256 over `<t>.<raw body>`; the key is the whole secret, prefix included."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from collections.abc import Iterable
from typing import Final, NamedTuple

SIGNATURE_HEADER: Final = "X-Driftstack-Signature"
EVENT_ID_HEADER: Final = "X-Driftstack-Event-Id"
EVENT_TYPE_HEADER: Final = "X-Driftstack-Event-Type"

PREFIX: Final = "whsec_"
_RANDOM_BYTES: Final = 20
_SHOWN: Final = len(PREFIX) + 4


class MintedSecret(NamedTuple):
    """A new signing secret.

    Attributes:
        plaintext: `whsec_` and 32 base32 characters.
        prefix: the first characters, to recognise it by.
    """

    plaintext: str
    prefix: str


def mint() -> MintedSecret:
    """Return a new random secret."""
    plaintext = PREFIX + base64.b32encode(secrets.token_bytes(_RANDOM_BYTES)).decode()
    return MintedSecret(plaintext, plaintext[:_SHOWN])


def sign(body: bytes, keys: Iterable[str], timestamp: int) -> str:
    """Return the value of the signature header.

    Args:
        body: as it is sent.
        keys: the current secret, and in a rotation the previous one; each makes a `v1`.
        timestamp: of this attempt, seconds since 1970; receivers refuse old ones.
    """
    signed = f"{timestamp}.".encode() + body
    digests = [hmac.new(key.encode(), signed, hashlib.sha256).hexdigest() for key in keys]
    return ",".join([f"t={timestamp}", *(f"v1={digest}" for digest in digests)])
