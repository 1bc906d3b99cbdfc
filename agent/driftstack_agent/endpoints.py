"""The agent's HTTP calls: who may call, which call it is, its messages decoded and encoded."""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import re
import socket
from collections.abc import Awaitable
from typing import Final, TypeVar

import msgspec

from driftstack_agent import logs
from driftstack_agent.agent import Agent
from driftstack_agent.errors import StepError
from driftstack_agent.http_server import BODY_LIMIT, BodyTooLarge, Request, Response, Upgrade
from driftstack_common.protocol import (
    CLAIM_PATH,
    DURATION_HEADER,
    HEALTH_PATH,
    PREPARE_PATH,
    STATUS,
    Capture,
    Claim,
    Navigate,
    Prepare,
    Problem,
    ProblemCode,
)
from driftstack_common.protocol_steps import Extract, Interact, State, Wait

_SESSION: Final = re.compile(r"/sessions/([A-Za-z0-9-]{1,64})(?:/([a-z]{1,16}))?")
_HOST: Final = re.compile(r"(\[[0-9a-fA-F:.]+\]|[^:]+)(?::[0-9]{1,5})?")
_SHOWN: Final = 200
_FROM_PAGES: Final = ("origin", "sec-fetch-site", "sec-fetch-mode")

M = TypeVar("M")


class Endpoints:
    """Answers the calls of the agent protocol.

    Args:
        token: what `Authorization: Bearer …` must carry.
    """

    def __init__(self, agent: Agent, token: str) -> None:
        self._agent = agent
        self._authorization = f"Bearer {token}".encode()

    async def handle(self, request: Request) -> Response | Upgrade:
        """Answer any request."""
        try:
            _refuse_pages(request)
            if (request.method, request.target) == ("GET", HEALTH_PATH):
                health, alive = await self._agent.health()
                return _answer(health, 200 if alive else 503)
            self._authorize(request)
            return await self._route(request)
        except StepError as error:
            return problem(error.problem)
        except Exception:  # a bug of ours: the caller gets an answer, the log the traceback
            logs.error("request failed", trace=True, call=f"{request.method} {_path(request)}")
            return problem(Problem(code=ProblemCode.BROWSER_FAILED, message="the agent failed; its log says how"))

    def _authorize(self, request: Request) -> None:
        given = request.headers.get("authorization", "").encode("latin-1")
        if not hmac.compare_digest(given, self._authorization):
            raise StepError(ProblemCode.UNAUTHORIZED, "the agent's token is missing or wrong")

    async def _route(self, request: Request) -> Response | Upgrade:
        if (request.method, request.target) == ("POST", CLAIM_PATH):
            return _answer(await self._agent.claim(_decode(request.body, Claim)))
        if (request.method, request.target) == ("GET", CLAIM_PATH):
            return _answer(await self._agent.holder())
        if (request.method, request.target) == ("POST", PREPARE_PATH):
            return _answer(await self._agent.prepare(_decode(request.body, Prepare)))
        match = _SESSION.fullmatch(request.target)
        if match is None:
            raise _not_found(request)
        session, step = match.group(1), match.group(2) or ""
        if (request.method, step) == ("GET", ""):
            return _answer(self._agent.activity(session))
        if (request.method, step) == ("GET", "cdp"):
            return self._devtools(session, request)
        if request.method == "POST":
            return await self._step(session, step, request)
        raise _not_found(request)

    async def _step(self, session: str, step: str, request: Request) -> Response:
        body = request.body
        match step:
            case "navigate":
                return await self._navigate(session, _decode(body, Navigate))
            case "capture":
                return await self._capture(session, _decode(body, Capture))
            case "interact":
                interact = _decode(body, Interact)
                doing = self._agent.interact(session, interact)
                return _answer(await _logged(doing, step, kind=type(interact.action).__name__.lower()))
            case "wait":
                return _answer(await _logged(self._agent.wait(session, _decode(body, Wait)), step))
            case "extract":
                return _answer(await _logged(self._agent.extract(session, _decode(body, Extract)), step))
            case "state":
                return _answer(await _logged(self._agent.state(session, _decode(body, State)), step))
        raise _not_found(request)

    async def _navigate(self, session: str, message: Navigate) -> Response:
        step = self._agent.navigate(session, message)
        return _answer(await _logged(step, "navigate"))

    async def _capture(self, session: str, message: Capture) -> Response:
        step = self._agent.capture(session, message)
        captured = await _logged(step, "capture", kind=message.kind)
        duration = (DURATION_HEADER, str(captured.duration_ms))
        return Response(200, captured.data, captured.content_type, (duration,))

    def _devtools(self, session: str, request: Request) -> Upgrade:
        # Imported only now: most sessions have no DevTools client, and no agent shall pay for it.
        from driftstack_agent.websocket import Handshake, WebSocket

        devtools = self._agent.devtools(session)
        handshake = Handshake(request)

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, received: bytes) -> None:
            await devtools.serve(WebSocket(handshake.protocol, reader, writer, received))

        return Upgrade(handshake.switch, serve)


def problem(message: Problem) -> Response:
    """Return a Problem as an answer, with the status of its code."""
    return Response(STATUS[message.code], msgspec.json.encode(message))


def refusal(too_large: BodyTooLarge | None) -> Response:
    """Return the answer to a request that never becomes one."""
    if too_large is None:
        return problem(Problem(code=ProblemCode.INVALID, message="the request is not valid HTTP"))
    details = {"limit_bytes": BODY_LIMIT, "size_bytes": too_large.size}
    message = f"the body is over the limit of {BODY_LIMIT} bytes"
    return problem(Problem(code=ProblemCode.TOO_LARGE, message=message, details=details))


async def _logged(step: Awaitable[M], name: str, **fields: str) -> M:
    try:
        result = await step
    except StepError as error:
        logs.info("step failed", step=name, code=error.problem.code, **fields)
        raise
    except asyncio.CancelledError:
        logs.info("step given up: its client has gone", step=name, **fields)
        raise
    logs.info("step done", step=name, duration_ms=getattr(result, "duration_ms", None), **fields)
    return result


def _refuse_pages(request: Request) -> None:
    """Refuse what a web page sent: by a browser's headers, or by a name that was rebound to our address."""
    if any(name in request.headers for name in _FROM_PAGES):
        raise StepError(ProblemCode.UNAUTHORIZED, "requests of web pages are refused")
    match = _HOST.fullmatch(request.headers.get("host", ""))
    host = match.group(1).strip("[]") if match else ""
    if host == socket.gethostname():
        return
    try:
        ipaddress.ip_address(host)
    except ValueError as error:
        raise StepError(ProblemCode.UNAUTHORIZED, "the Host header must be an IP address") from error


def _decode(body: bytes, kind: type[M]) -> M:
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise StepError(ProblemCode.INVALID, f"the message is invalid: {error}") from error


def _answer(message: msgspec.Struct, status: int = 200) -> Response:
    return Response(status, msgspec.json.encode(message))


def _path(request: Request) -> str:
    """Return the target for people: without query, and not too long."""
    return request.target.partition("?")[0][:_SHOWN]


def _not_found(request: Request) -> StepError:
    return StepError(ProblemCode.NOT_FOUND, f"there is no {request.method} {_path(request)}")
