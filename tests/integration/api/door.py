"""The DevTools door as clients meet it: a served facade, handshakes by hand, and WebSocket clients."""

from __future__ import annotations

import base64
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import httpx2

from tests.integration.api.test_client import served
from tests.integration.api.world import Facade, World, application

HANDSHAKE = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"}


class Door(Facade):
    """A facade that is reached by TCP."""

    sockets: aiohttp.ClientSession

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self.http.base_url.port or 0)

    async def connect(
        self, session: dict[str, Any], key: str = "acme", **more: Any
    ) -> aiohttp.ClientWebSocketResponse:
        """Open a WebSocket with an API key by name."""
        return await self.open(self.path(session), {"Authorization": self.bearer(key)}, **more)

    async def open(
        self, url: str, headers: dict[str, str] | None = None, **more: Any
    ) -> aiohttp.ClientWebSocketResponse:
        """Open a WebSocket."""
        target = str(self.http.base_url.join(url)).replace("ws://", "http://")
        return await self.sockets.ws_connect(target, headers=headers, max_msg_size=0, **more)

    async def shake(self, url: str, headers: dict[str, str] | None = None) -> httpx2.Response:
        """Send a handshake that is to be refused."""
        key = base64.b64encode(os.urandom(16)).decode()
        return await self.http.get(url, headers={**HANDSHAKE, "Sec-WebSocket-Key": key, **(headers or {})})

    async def token(self, session: dict[str, Any], key: str = "acme") -> str:
        """Return a token of POST connect."""
        answer = await self.call("POST", f"/v1/sessions/{session['id']}/connect", key=key)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["connect_url"]).partition("?token=")[2]

    def path(self, session: dict[str, Any], token: str | None = None) -> str:
        """Return the path of a session's WebSocket."""
        query = "" if token is None else f"?token={token}"
        return f"/v1/sessions/{session['id']}/cdp{query}"

    def bearer(self, key: str) -> str:
        """Return the header of a key by name."""
        return f"Bearer {self.world.keys[key].plaintext}"


@asynccontextmanager
async def opened(world: World, **settings: Any) -> AsyncIterator[Door]:
    """A door."""
    async with (
        application(world, **settings) as app,
        aiohttp.ClientSession() as sockets,
        served(app) as url,
        httpx2.AsyncClient(base_url=url, timeout=30, trust_env=False) as client,
    ):
        door = Door(app, world, client)
        door.sockets = sockets
        yield door
