"""The agent's WebSocket of raw DevTools messages: `GET /sessions/{uid}/cdp` (docs/reference/agent-protocol.md).

Text messages of Chromium's DevTools protocol, each way; the session is the browser's. Refusals before the upgrade
are Problems, as of any call; what ends a WebSocket is its close code, with a short reason.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

DEVTOOLS_MESSAGE_LIMIT: Final = 64 * 1024 * 1024
"""Most bytes of a message, either way; of several clients together, the most that may wait to be sent to them."""
DEVTOOLS_CLIENTS: Final = 16
"""Most clients of a session at a time; one more is `too-many-clients`."""


class CloseCode(IntEnum):
    """Why a WebSocket is closed.

    NORMAL: the client's own close, or its Browser.close. PROTOCOL: its frames are no WebSocket's. UNSUPPORTED: a
    binary message. NOT_TEXT: a text that isn't UTF-8. TOO_LARGE: a message over the limit. ENDED: the session has
    ended; the reason is its EndReason. TOO_SLOW: the client doesn't read what it is sent. BROWSER_FAILED: Chromium
    died or doesn't answer.
    """

    NORMAL = 1000
    PROTOCOL = 1002
    UNSUPPORTED = 1003
    NOT_TEXT = 1007
    TOO_LARGE = 1009
    ENDED = 4410
    TOO_SLOW = 4429
    BROWSER_FAILED = 4502


def devtools_path(session: str) -> str:
    """Return the path of a session's WebSocket; session is the BrowserSession's uid."""
    return f"/sessions/{session}/cdp"
