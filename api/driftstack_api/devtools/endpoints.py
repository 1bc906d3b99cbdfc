"""The routes of the DevTools door: a URL to connect to, and the WebSocket behind it."""

from __future__ import annotations

from http import HTTPStatus

from fastapi import APIRouter, Request, Response
from pydantic import ConfigDict, Field
from starlette.types import Receive, Scope, Send

from driftstack_api.auth import WRITE_SESSIONS, Caller, authorization, count, permit
from driftstack_api.devtools.frames import accept, is_key
from driftstack_api.devtools.links import devtools_url
from driftstack_api.devtools.relay import Relay
from driftstack_api.devtools.tokens import refused
from driftstack_api.devtools.tunnels import READY_MS, Tunnels
from driftstack_api.openapi import problems
from driftstack_api.problems import Problem
from driftstack_api.services import services
from driftstack_api.sessions.endpoints import Writer
from driftstack_api.sessions.schemas import SESSION_EXAMPLE, TIME_EXAMPLE, AnswerModel, SessionId, Time
from driftstack_api.wire import UPGRADE
from driftstack_common.names import session_uid
from driftstack_common.times import format_time

router = APIRouter(prefix="/v1/sessions", tags=["sessions"])


class ConnectResult(AnswerModel):
    """Where a DevTools client connects to, with what lets it in."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "connect_url": f"wss://driftstack.example.com/v1/sessions/{SESSION_EXAMPLE}/cdp"
                    "?token=1778587268000.7b3e5d1c-2a4f-4c6e-8b9d-0f1a2c3e4d5b.6f1e…0001",
                    "expires_at": TIME_EXAMPLE,
                }
            ]
        }
    )

    connect_url: str = Field(description="A WebSocket URL for this session alone; treat it as a secret.")
    expires_at: Time = Field(description="Connect until then; what is connected stays.")


@router.post(
    "/{session_id}/connect",
    summary="Get a URL for DevTools clients",
    responses=problems("not-found", "conflict", "session-destroyed"),
)
async def connect(request: Request, session_id: SessionId, caller: Writer) -> ConnectResult:
    """A URL for Playwright's `connect_over_cdp`, Puppeteer's `connect` or any client of the DevTools protocol.

    Clients that send headers can do without: `GET /v1/sessions/{session_id}/cdp` is a WebSocket that takes the API
    key as any call does.
    """
    scope = services(request)
    entry = await scope.steps.ready(caller, session_id, READY_MS)
    token, expires = scope.tokens.make(entry.uid, caller.key.metadata.uid)
    url = f"{devtools_url(request, session_id)}?token={token}"
    return ConnectResult(connect_url=url, expires_at=format_time(expires))


@router.get("/{session_id}/cdp", include_in_schema=False)
async def cdp(request: Request, session_id: str) -> Response:
    """The WebSocket: whatever refuses it is an ordinary answer to an ordinary request."""
    caller = await _caller(request, session_id)
    key = _handshake_key(request)
    tunnels = services(request).tunnels
    return _Switch(key, await tunnels.open(caller, session_id, key), tunnels)


async def _caller(request: Request, session_id: str) -> Caller:
    """Return who connects, by the API key or, without one, by a connect URL's token."""
    scope = services(request)
    header, token = authorization(request), request.query_params.get("token")
    if header is not None:
        caller = await scope.authenticator.identify(header)
    elif token is None:
        raise refused("A token or an API key is needed.")
    else:
        caller = await scope.authenticator.identify_by_uid(scope.tokens.check(token, session_uid(session_id) or ""))
    await count(request, caller)
    return permit(caller, WRITE_SESSIONS)


def _handshake_key(request: Request) -> str:
    """Return the Sec-WebSocket-Key of a request for a WebSocket."""
    headers = request.headers
    version_is_right = headers.get("sec-websocket-version", "13") == "13"
    if (
        UPGRADE not in request.scope.get("extensions", {})
        or headers.get("upgrade", "").lower() != "websocket"
        or not version_is_right
    ):
        needed = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13"}
        detail = "This is a WebSocket (version 13): connect a DevTools client to it."
        raise Problem("bad-request", detail, status=HTTPStatus.UPGRADE_REQUIRED, headers=needed)
    key = headers.get("sec-websocket-key", "")
    if not is_key(key):
        raise Problem("bad-request", "Sec-WebSocket-Key must be 16 bytes in base64.")
    return key


class _Switch(Response):
    """The answer that makes the connection a WebSocket."""

    def __init__(self, key: str, relay: Relay, tunnels: Tunnels) -> None:
        headers = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Accept": accept(key)}
        super().__init__(status_code=HTTPStatus.SWITCHING_PROTOCOLS, headers=headers)
        self._relay = relay
        self._tunnels = tunnels

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand the connection to the relay; give up when the client has gone."""
        start = {"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers}
        try:
            await send({**start, UPGRADE: self._relay.client})
        finally:
            if not self._relay.begun:
                self._tunnels.give_up(self._relay)
