"""What surrounds every request: its id, its headers, its log line and metrics, and the answer after a crash.

Plain ASGI: Starlette's BaseHTTPMiddleware would copy every body and start a task per request.
"""

from __future__ import annotations

import asyncio
import logging
import re
import secrets
import time
from functools import cache
from typing import Final

import structlog
from prometheus_client import Histogram
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from driftstack_api.metrics import REQUESTS
from driftstack_api.problems import Problem, render, unavailable
from driftstack_common.logging import get_logger

REQUEST_ID: Final = b"x-request-id"
MOST_REQUESTS: Final = 1000
"""Requests in flight on one replica, steps among them; the kubelet's probes are answered beyond."""
_PROBES: Final = frozenset({"/healthz", "/readyz"})
_GIVEN: Final = re.compile(rb"[A-Za-z0-9._-]{1,128}")
_PRIVATE: Final = (b"cache-control", b"no-store, private")
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})

_HUNG_UP: Final = 499
"""Status, for log and metrics only, of a request whose caller did not wait; the number is nginx's."""

_CROWDED: Final = unavailable("Too many requests at once.", 1)
_STOPPING: Final = unavailable("This replica was stopped before the call was done.", 1)

_log = get_logger(__name__)


class RequestContext:
    """ASGI middleware; base is what problem types begin with."""

    def __init__(self, app: ASGIApp, base: str) -> None:
        self._app = app
        self._base = base
        self._in_flight = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = _request_id(scope)
        scope.setdefault("state", {})["request_id"] = request_id
        structlog.contextvars.bind_contextvars(request_id=request_id)
        started = time.perf_counter()
        status = 0

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                _add_headers(message, scope, request_id)
            await send(message)

        self._in_flight += 1
        try:
            if self._in_flight > MOST_REQUESTS and scope["path"] not in _PROBES:
                await render(_CROWDED, self._base, request_id)(scope, receive, answer)
            else:
                await self._app(scope, receive, answer)
        except ClientDisconnect:
            status = _HUNG_UP
        except asyncio.CancelledError:  # its grace is over; uvicorn would answer in plain text
            if not status:
                await render(_STOPPING, self._base, request_id)(scope, receive, answer)
            raise
        except Exception:  # a bug of ours, whatever it is: the caller gets a problem, the log the trace
            _log.exception("request crashed", method=scope["method"], path=scope["path"])
            if status:
                raise
            crash = Problem("internal", "Something went wrong on our side.")
            await render(crash, self._base, request_id)(scope, receive, answer)
        finally:
            self._in_flight -= 1
            _record(scope, status, time.perf_counter() - started)


def _request_id(scope: Scope) -> str:
    for name, value in scope["headers"]:
        if name == REQUEST_ID and _GIVEN.fullmatch(value):
            return str(value.decode())
    return f"req_{secrets.token_hex(16)}"


def _add_headers(message: Message, scope: Scope, request_id: str) -> None:
    headers = [*message.get("headers", ()), (REQUEST_ID, request_id.encode())]
    if scope["path"].startswith("/v1/"):
        headers.append(_PRIVATE)
    headers.extend(scope["state"].get("rate_limit", ()))
    message["headers"] = headers


@cache
def _series(method: str, route: str, status: int) -> Histogram:
    """Return one of the few histograms; looking it up by its labels takes longer than the rest."""
    return REQUESTS.labels(method, route, str(status))


def _record(scope: Scope, status: int, seconds: float) -> None:
    route = getattr(scope.get("route"), "path", "") or "unknown"
    method = scope["method"] if scope["method"] in _METHODS else "OTHER"
    _series(method, route, status).observe(seconds)
    # Reads are many; what changes something, or fails, is worth a line.
    level = logging.DEBUG if method == "GET" and status < 400 else logging.INFO
    if logging.getLogger(__name__).isEnabledFor(level):
        _log.log(level, "request", method=method, route=route, status=status, ms=round(seconds * 1000, 1))
