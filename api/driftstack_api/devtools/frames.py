"""WebSocket frames (RFC 6455), as far as a relay needs them: where one ends, and our own close."""

from __future__ import annotations

import base64
import binascii
import hashlib
from typing import Final

REASON_LIMIT: Final = 123
"""Most bytes of a close frame's reason."""
_CLOSE: Final = 8
_MASK_BYTES: Final = 4
_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def close_frame(code: int, reason: str) -> bytes:
    """Return a server's close frame; a reason that is too long is cut."""
    text = reason.encode()[:REASON_LIMIT].decode(errors="ignore").encode()
    payload = code.to_bytes(2, "big") + text
    return bytes((0x80 | _CLOSE, len(payload))) + payload


def accept(key: str) -> str:
    """Return the Sec-WebSocket-Accept that answers a Sec-WebSocket-Key."""
    return base64.b64encode(hashlib.sha1(key.encode() + _GUID).digest()).decode()  # noqa: S324 - RFC 6455 wants it


def is_key(text: str) -> bool:
    """Whether this is a Sec-WebSocket-Key: 16 bytes in base64."""
    try:
        return len(base64.b64decode(text, validate=True)) == 16
    except (binascii.Error, ValueError):
        return False


class Frames:
    """Follows one direction of a connection by its frames' headers; what is in the frames is skipped.

    Attributes:
        close_code: of the close frame that has begun to pass, 1005 when it names none; None before.
    """

    def __init__(self) -> None:
        self.close_code: int | None = None
        self._head = bytearray()
        self._left = 0

    @property
    def between(self) -> bool:
        """Whether the last frame is complete: another one may be put in here."""
        return not self._left and not self._head

    def feed(self, data: bytes) -> None:
        """Take note of bytes that pass."""
        position = 0
        while position < len(data):
            position = self.finish(data, position)

    def finish(self, data: bytes, position: int = 0) -> int:
        """Take note of bytes up to the end of one frame; return where in data that is."""
        while not self._left and position < len(data):
            self._head.append(data[position])
            position += 1
            if len(self._head) >= 2 and len(self._head) == self._head_length():
                self._begin(data, position)
                if not self._left:
                    return position
        skipped = min(self._left, len(data) - position)
        self._left -= skipped
        return position + skipped

    def _head_length(self) -> int:
        length = self._head[1] & 0x7F
        extended = {126: 2, 127: 8}.get(length, 0)
        return 2 + extended + (_MASK_BYTES if self._head[1] & 0x80 else 0)

    def _begin(self, data: bytes, position: int) -> None:
        """Read a complete head; its payload comes next."""
        length = self._head[1] & 0x7F
        if length >= 126:
            length = int.from_bytes(self._head[2 : 4 if length == 126 else 10], "big")
        if self._head[0] & 0x0F == _CLOSE and self.close_code is None:
            code = data[position : position + 2]
            self.close_code = int.from_bytes(code, "big") if length >= 2 and len(code) == 2 else 1005
        self._head.clear()
        self._left = length
