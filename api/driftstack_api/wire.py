"""The edge, before any application: what is no HTTP request, and heads too large or too slow to become one."""

from __future__ import annotations

import asyncio
import uuid
from functools import partial
from http import HTTPStatus
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from driftstack_api.problems import Problem, render, unavailable

HEAD_LIMIT: Final = 64 * 1024
"""Most bytes of a request line and its headers, give or take what comes in one piece; uvicorn knows no bound."""
HEAD_SECONDS: Final = 20.0
"""How long a head may take to arrive, from the connection's or its own first byte."""

UPGRADE: Final = "driftstack.upgrade"
"""ASGI extension of requests that ask for an upgrade: `http.response.start` with status 101 and, under this name, a
protocol, which gets the connection once the head is sent."""
MOST_CONNECTIONS: Final = 2000
"""Connections to one replica, idle ones among them; uvicorn's own bound answers in plain text."""


_LONG_HEAD: Final = f"A request line and its headers can have at most {HEAD_LIMIT} bytes."
_NO_HTTP: Final = "This is not a well-formed HTTP request."


class _BoundedProtocol(HttpToolsProtocol):
    """HTTP/1.1 whose connections are bounded in number, and request heads in size and time."""

    _head = 0
    _late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn
        super().connection_made(transport)
        self._expect_head()
        if len(self.connections) > MOST_CONNECTIONS:
            self.refuse_connection()

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
        if self.parser.should_upgrade():
            self.scope["extensions"] = {UPGRADE: {}}
            self.cycle.send = partial(self._answer, self.cycle, self.cycle.send)  # type: ignore[method-assign]

    def _unsupported_upgrade_warning(self) -> None:
        # Nothing may follow a request for an upgrade before its answer.
        self.flow.pause_reading()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._late is not None:
            self._head += len(data)
            if self._head > HEAD_LIMIT and not self.transport.is_closing():
                self.send_400_response(_LONG_HEAD)

    def refuse_connection(self) -> None:
        """Hang up on one connection too many."""
        self.transport.close()

    async def _answer(self, cycle: RequestResponseCycle, send: Any, message: Any) -> None:
        """Send an answer as usual, or hand the connection over with it."""
        if message.get("status") != HTTPStatus.SWITCHING_PROTOCOLS:
            await send(message)
            return
        cycle.response_started = cycle.response_complete = True
        if self.transport.is_closing():
            return
        lines = [name + b": " + value for name, value in message["headers"]]
        self.transport.write(b"\r\n".join([b"HTTP/1.1 101 Switching Protocols", *lines, b"", b""]))
        self._hand_over(message[UPGRADE])

    def _hand_over(self, protocol: Any) -> None:
        self._unset_keepalive_if_required()
        self.connections.discard(self)
        self.connections.add(protocol)
        protocol.left = partial(self.connections.discard, protocol)
        self.transport.set_protocol(protocol)
        protocol.connection_made(self.transport)

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
            """Answer what could not be parsed, and hang up; uvicorn's own message says nothing."""
            detail = msg if msg == _LONG_HEAD else _NO_HTTP
            self.transport.write(whole(Problem("bad-request", detail), base))
            self.transport.close()

        def refuse_connection(self) -> None:
            """Say so, and hang up, on one connection too many."""
            self.transport.write(whole(unavailable("Too many connections at once.", 1), base))
            self.transport.close()

    return ProblemProtocol


def whole(problem: Problem, base: str) -> bytes:
    """Return an answer as bytes, for what is refused before there is a request."""
    request_id = f"req_{uuid.uuid4().hex}"
    problem.headers |= {"X-Request-Id": request_id, "Cache-Control": "no-store, private", "Connection": "close"}
    answer = render(problem, base, request_id)
    status = f"HTTP/1.1 {problem.status} {HTTPStatus(problem.status).phrase}"
    lines = [status.encode(), *(name + b": " + value for name, value in answer.raw_headers)]
    return b"\r\n".join([*lines, b"", bytes(answer.body)])
