"""Cursors: where a page ended, as opaque text.

A cursor is a place in the order (created_at, then id, newest first), not an object: it still works when what it
points to has gone. It carries a checksum bound to the list, so that garbage and cursors of other lists are refused
instead of giving odd pages.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import struct
import uuid
from typing import Final, NamedTuple

from driftstack_api.problems import Issue, invalid

_VERSION: Final = 1
_BODY: Final = struct.Struct(">Bq16s")
_CHECK: Final = 6


class Position(NamedTuple):
    """A place in the list; created is milliseconds since 1970, uid that of what is there."""

    created: int
    uid: str


class BadCursor(ValueError):
    """No cursor of this list."""


def encode(position: Position, whose: str) -> str:
    """Return the cursor for this place in a list (42 characters).

    Args:
        whose: what the list is of, e.g. the account's uid.
    """
    body = _BODY.pack(_VERSION, position.created, uuid.UUID(position.uid).bytes)
    return base64.urlsafe_b64encode(body + _checksum(body, whose)).decode().rstrip("=")


def decode(cursor: str, whose: str) -> Position:
    """Return the place that a cursor means.

    Raises:
        BadCursor: it was not made by `encode` for this list.
    """
    try:
        raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        version, created, uid = _BODY.unpack(raw[:-_CHECK])
    except (binascii.Error, struct.error, ValueError) as error:
        raise BadCursor(cursor[:40]) from error
    if version != _VERSION or raw[-_CHECK:] != _checksum(raw[:-_CHECK], whose):
        raise BadCursor(cursor[:40])
    return Position(created, str(uuid.UUID(bytes=uid)))


def position_of(cursor: str | None, whose: str) -> Position | None:
    """Return the place that a call's `cursor` means, if it has one; raise Problem validation-failed."""
    if cursor is None:
        return None
    try:
        return decode(cursor, whose)
    except BadCursor as error:
        raise invalid([Issue("cursor", "not a cursor that this list has given")]) from error


def _checksum(body: bytes, whose: str) -> bytes:
    return hashlib.blake2b(body, key=whose.encode()[:64], digest_size=_CHECK).digest()
