"""What a connect URL carries instead of an API key: it opens one session's DevTools, for a minute, as that key.

    <expiry, ms since 1970>.<uid of the ApiKey object>.<HMAC>.<id of the signing key>

The HMAC covers the session too, so that a token is worth nothing elsewhere. There is nothing secret in a token but
its HMAC, and nothing is stored.
"""

from __future__ import annotations

import hmac
from datetime import datetime, timedelta
from typing import Final

from driftstack_api.mounted_keys import MountedKeys
from driftstack_api.problems import Problem
from driftstack_common.times import now

VALID: Final = timedelta(seconds=60)
LENGTH_LIMIT: Final = 512


class ConnectTokens:
    """Makes and checks tokens."""

    def __init__(self, keys: MountedKeys) -> None:
        self._keys = keys

    def make(self, session: str, key: str) -> tuple[str, datetime]:
        """Return a token for a session (its uid) and an ApiKey object (its uid), and until when it is valid."""
        expires = now() + VALID
        milliseconds = str(int(expires.timestamp() * 1000))
        ring = self._keys.ring
        signature = ring.token(_signed(milliseconds, session, key), ring.current)
        return f"{milliseconds}.{key}.{signature}.{ring.current}", expires

    def check(self, token: str, session: str) -> str:
        """Return the uid of the ApiKey object that a token stands for.

        Raises:
            Problem: unauthorized, when it is not one of this session's, or has expired.
        """
        milliseconds, _, rest = token[:LENGTH_LIMIT].partition(".")
        key, _, rest = rest.partition(".")
        signature, _, ring_key = rest.partition(".")
        try:
            right = self._keys.ring.token(_signed(milliseconds, session, key), ring_key or "-")
        except KeyError:
            right = ""
        if not right or not hmac.compare_digest(signature.encode(), right.encode()):
            raise refused("This token is not one of this session's.")
        if int(milliseconds) <= now().timestamp() * 1000:
            raise refused("This token has expired.")
        return key


def refused(detail: str) -> Problem:
    """Return the problem for a handshake that proves nothing."""
    advice = "Ask for a new URL with `POST …/connect`, or send the header `Authorization: Bearer ds_live_…`."
    return Problem("unauthorized", f"{detail} {advice}", headers={"WWW-Authenticate": "Bearer"})


def _signed(milliseconds: str, session: str, key: str) -> str:
    return f"connect {milliseconds} {session} {key}"
