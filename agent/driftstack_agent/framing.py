"""Cuts Chromium's pipe into messages: JSON texts, each ended by a NUL byte."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

MESSAGE_LIMIT: Final = 64 * 1024 * 1024
"""Most bytes of one message. The largest capture we hand out is 8 MiB in base64; the rest is room to say how large
a refused one is, bounded so that a page can't fill the agent's memory."""
_HEAD: Final = 256


class Oversize(NamedTuple):
    """A message over the limit: its first bytes, which hold the id, and its whole size."""

    head: bytes
    size: int


class Splitter:
    """Collects bytes as they come and yields whole messages; linear in the bytes, bounded by the limit."""

    def __init__(self, limit: int = MESSAGE_LIMIT) -> None:
        self._limit = limit
        self._parts: list[bytes] = []
        self._head = b""
        self._size = 0

    def feed(self, data: bytes) -> Iterator[bytes | Oversize]:
        """Take the next bytes and yield every message they complete."""
        *complete, rest = data.split(b"\0")
        for part in complete:
            self._add(part)
            yield self._take()
        self._add(rest)

    def _add(self, part: bytes) -> None:
        self._size += len(part)
        self._head += part[: _HEAD - len(self._head)]
        if self._size <= self._limit:
            self._parts.append(part)
        else:
            self._parts.clear()

    def _take(self) -> bytes | Oversize:
        message = b"".join(self._parts) if self._size <= self._limit else Oversize(self._head, self._size)
        self._parts, self._head, self._size = [], b"", 0
        return message
