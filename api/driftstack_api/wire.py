"""The edge, before any application: what is no HTTP request, and heads too large or too slow to become one."""

from __future__ import annotations

import asyncio
import uuid
from typing import Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from driftstack_api.problems import Problem, render

HEAD_LIMIT: Final = 64 * 1024
"""Most bytes of a request line and its headers, give or take what comes in one piece; uvicorn knows no bound."""
HEAD_SECONDS: Final = 20.0
"""How long a head may take to arrive, from the connection's or its own first byte."""


class _BoundedProtocol(HttpToolsProtocol):
    """HTTP/1.1 whose request heads are bounded in size and time."""

    _head = 0
    _late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn
        super().connection_made(transport)
        self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._head_is_here()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        if self._late is None:
            self._expect_head()

    def on_headers_complete(self) -> None:
        self._head_is_here()
        super().on_headers_complete()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._late is not None:
            self._head += len(data)
            if self._head > HEAD_LIMIT and not self.transport.is_closing():
                self.send_400_response("")

    def _expect_head(self) -> None:
        self._head = 0
        self._late = self.loop.call_later(HEAD_SECONDS, self.transport.close)

    def _head_is_here(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None


def http_protocol(base: str) -> type[HttpToolsProtocol]:
    """Return the HTTP protocol class for uvicorn; base is what problem types begin with."""

    class ProblemProtocol(_BoundedProtocol):
        """HTTP/1.1 whose own refusals are problems."""

        def send_400_response(self, msg: str) -> None:
            """Answer what could not be parsed, and hang up."""
            self.transport.write(malformed(base))
            self.transport.close()

    return ProblemProtocol


def malformed(base: str) -> bytes:
    """Return the whole answer to bytes that are no HTTP request."""
    request_id = f"req_{uuid.uuid4().hex}"
    headers = {"X-Request-Id": request_id, "Cache-Control": "no-store, private", "Connection": "close"}
    problem = Problem("bad-request", "This is not a well-formed HTTP request.", headers=headers)
    answer = render(problem, base, request_id)
    lines = [b"HTTP/1.1 400 Bad Request", *(name + b": " + value for name, value in answer.raw_headers)]
    return b"\r\n".join([*lines, b"", bytes(answer.body)])
