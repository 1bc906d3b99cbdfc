"""Cursors: where a page ended, as opaque text.

A cursor is a place in the order (created_at, then id, newest first), not an object: it still works when the
session it points to has gone. It carries a checksum bound to the account, so that garbage and cursors of other
accounts are refused instead of giving odd pages.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import struct
import uuid
from typing import Final, NamedTuple

_VERSION: Final = 1
_BODY: Final = struct.Struct(">Bq16s")
_CHECK: Final = 6


class Position(NamedTuple):
    """A place in the list; created is milliseconds since 1970, uid the session's."""

    created: int
    uid: str


class BadCursor(ValueError):
    """No cursor of this account."""


def encode(position: Position, account: str) -> str:
    """Return the cursor for this place in this account's list (42 characters)."""
    body = _BODY.pack(_VERSION, position.created, uuid.UUID(position.uid).bytes)
    return base64.urlsafe_b64encode(body + _checksum(body, account)).decode().rstrip("=")


def decode(cursor: str, account: str) -> Position:
    """Return the place that a cursor means.

    Raises:
        BadCursor: it was not made by `encode` for this account.
    """
    try:
        raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        version, created, uid = _BODY.unpack(raw[:-_CHECK])
    except (binascii.Error, struct.error, ValueError) as error:
        raise BadCursor(cursor[:40]) from error
    if version != _VERSION or raw[-_CHECK:] != _checksum(raw[:-_CHECK], account):
        raise BadCursor(cursor[:40])
    return Position(created, str(uuid.UUID(bytes=uid)))


def _checksum(body: bytes, account: str) -> bytes:
    return hashlib.blake2b(body, key=account.encode()[:64], digest_size=_CHECK).digest()
