"""Minting of API keys: 256 random bits, shown once, stored as a hash."""

from __future__ import annotations

import hashlib
import secrets
from typing import Final, NamedTuple

PREFIX: Final = "ds_live_"
_SHOWN: Final = len(PREFIX) + 4


class MintedKey(NamedTuple):
    """A new key.

    Attributes:
        plaintext: `ds_live_` and 43 url-safe characters; never stored.
        sha256: what ApiKey objects hold, lower-case hex.
        prefix: the first characters, to recognise it by.
    """

    plaintext: str
    sha256: str
    prefix: str


def mint() -> MintedKey:
    """Return a new random key."""
    plaintext = PREFIX + secrets.token_urlsafe(32)
    return MintedKey(plaintext, digest(plaintext), plaintext[:_SHOWN])


def digest(plaintext: str) -> str:
    """Return the hash that an ApiKey object holds for this key."""
    return hashlib.sha256(plaintext.encode()).hexdigest()
