"""The WebSocket URL of a session, as whoever asks can reach it."""

from __future__ import annotations

import re
from typing import Final

from starlette.requests import Request

from driftstack_api.services import services
from driftstack_api.sessions.view import View

_HOST: Final = re.compile(r"([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:\d{1,5})?")
_REACHABLE: Final = frozenset({"ready", "busy"})


def devtools_url(request: Request, session: str) -> str:
    """Return the URL of a session (its public id) without a token."""
    return f"{_base(request)}/v1/sessions/{session}/cdp"


def linked(request: Request, shown: View) -> View:
    """Return a session with its URL, when there is something to reach."""
    if shown["status"] in _REACHABLE:
        shown["connect_url"] = devtools_url(request, shown["id"])
    return shown


def _base(request: Request) -> str:
    """Return scheme, host and path that everything begins with: as set, or as the request came here.

    A caller can make up these headers, but only it gets to see what they lead to.
    """
    public = services(request).public_url
    if public is not None:
        return "ws" + public.removeprefix("http").rstrip("/")
    scheme = request.headers.get("x-forwarded-proto", request.url.scheme).partition(",")[0].strip()
    return ("wss://" if scheme in ("https", "wss") else "ws://") + _host(request)


def _host(request: Request) -> str:
    host = request.headers.get("host", "")
    if _HOST.fullmatch(host):
        return host
    address, port = request.scope.get("server") or ("localhost", None)
    return f"{address}:{port}" if port else str(address)
