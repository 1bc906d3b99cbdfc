"""The request headers that a create knows. What OpenAPI says about them stands beside how they are read."""

from __future__ import annotations

import re
from typing import Any, Final

from starlette.requests import Request

from driftstack_api.problems import Issue, invalid

LONGEST_WAIT: Final = 30
"""Most seconds of `Prefer: wait`."""
IDEMPOTENCY_KEY: Final = "Idempotency-Key"

CREATE_HEADERS: Final[list[dict[str, Any]]] = [
    {
        "name": IDEMPOTENCY_KEY,
        "in": "header",
        "description": "A name of your own for this create, 1 to 255 printable ASCII characters, not only spaces. "
        "The same key with the same body gives the same session, however often it is sent.",
        "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[ -~]*[!-~][ -~]*$"},
        "example": "order-4711",
    },
    {
        "name": "Prefer",
        "in": "header",
        "description": f"`wait=N` (RFC 7240): answer once the session is ready, or after N seconds, at most "
        f"{LONGEST_WAIT}. Anything else is ignored.",
        "schema": {"type": "string"},
        "example": "wait=10",
    },
]

_KEY: Final = re.compile(r"[ -~]{1,255}")
_WAIT: Final = re.compile(r'\s*wait\s*=\s*"?(\d{1,9})"?\s*(?:;.*)?', re.IGNORECASE)


def idempotency_key(request: Request) -> str | None:
    """Return the Idempotency-Key, or None without one; a dependency.

    Raises:
        Problem: validation-failed; a key that was ignored would make a second session of a repeated create.
    """
    given = request.headers.getlist(IDEMPOTENCY_KEY)
    if not given:
        return None
    if len(given) > 1:
        raise invalid([Issue(IDEMPOTENCY_KEY, "Send this header once")])
    if not _KEY.fullmatch(given[0]) or not given[0].strip():
        raise invalid([Issue(IDEMPOTENCY_KEY, "Should be 1 to 255 printable ASCII characters, not only spaces")])
    return given[0]


def preferred_wait(request: Request) -> int | None:
    """Return the seconds of `Prefer: wait=N`, at most LONGEST_WAIT; None without a usable one; a dependency."""
    for preference in ",".join(request.headers.getlist("Prefer")).split(","):
        match = _WAIT.fullmatch(preference)
        if match is not None:
            return min(int(match.group(1)), LONGEST_WAIT)
    return None
