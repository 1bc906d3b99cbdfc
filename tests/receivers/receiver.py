"""An HTTP server in a thread of its own; the path of a URL says how it behaves.

/ok            200
/status/<n>    that status
/flaky/<n>     500 to the first n attempts at each event, then 200
/slow/<s>      200 after so many seconds
/drip          200 at once, and a body that never ends
/big           200 and 10 MB
/cut           200 and half of the body that it announced
/hang-up       no answer
/elsewhere     302 to /ok
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from aiohttp import web

BIG = 10_000_000


@dataclass(frozen=True)
class Received:
    """One request."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def event(self) -> str:
        """Id of the event."""
        return self.headers["x-driftstack-event-id"]


class Receiver:
    """Serves while in `serving`; `received` has every request, in the order of their arrival.

    Args:
        host: address to listen on.
        certificate: serves https by it.
    """

    def __init__(self, host: str = "127.0.0.1", certificate: ssl.SSLContext | None = None) -> None:
        self.received: list[Received] = []
        self.busiest = 0
        self.sent = 0
        self.port = 0
        self._host = host
        self._certificate = certificate
        self._busy = 0
        self._attempts: Counter[str] = Counter()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop = asyncio.Event()

    def url(self, path: str) -> str:
        """Return the URL of a path."""
        scheme = "https" if self._certificate is not None else "http"
        return f"{scheme}://{self._host}:{self.port}{path}"

    def to(self, path: str) -> list[Received]:
        """Return the requests to one path."""
        return [each for each in list(self.received) if each.path == path]

    @contextlib.contextmanager
    def serving(self) -> Iterator[Receiver]:
        """Serve from here to the end of the context."""
        ready = threading.Event()
        thread = threading.Thread(target=lambda: asyncio.run(self._serve(ready)), daemon=True)
        thread.start()
        assert ready.wait(10)
        try:
            yield self
        finally:
            assert self._loop is not None
            self._loop.call_soon_threadsafe(self._stop.set)
            thread.join(10)

    async def _serve(self, ready: threading.Event) -> None:
        self._loop = asyncio.get_running_loop()
        application = web.Application(client_max_size=2**20)
        application.router.add_post("/{behaviour}", self._take)
        application.router.add_post("/{behaviour}/{number}", self._take)
        runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, self._host, 0, ssl_context=self._certificate, backlog=1024)
        await site.start()
        self.port = runner.addresses[0][1]
        ready.set()
        await self._stop.wait()
        await runner.cleanup()

    async def _take(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.received.append(Received(request.path, headers, body))
        self._busy += 1
        self.busiest = max(self.busiest, self._busy)
        try:
            return await self._answer(request, headers)
        finally:
            self._busy -= 1

    async def _answer(self, request: web.Request, headers: dict[str, str]) -> web.StreamResponse:
        number = float(request.match_info.get("number", 0))
        match request.match_info["behaviour"]:
            case "status":
                return web.Response(status=int(number), text=f"this is {number:g}")
            case "flaky":
                event = headers["x-driftstack-event-id"]
                self._attempts[event] += 1
                return web.Response(status=200 if self._attempts[event] > number else 500)
            case "slow":
                await asyncio.sleep(number)
            case "drip":
                return await self._drip(request)
            case "big":
                return await self._big(request)
            case "cut":
                return await self._cut(request)
            case "hang-up":
                assert request.transport is not None
                request.transport.abort()
            case "elsewhere":
                return web.Response(status=302, headers={"Location": "/ok"})
        return web.Response(text="thank you")

    async def _drip(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        with contextlib.suppress(ConnectionError):
            while True:
                await response.write(b".")
                await asyncio.sleep(0.2)
        return response

    async def _big(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        response.content_length = BIG
        await response.prepare(request)
        with contextlib.suppress(ConnectionError):
            for _ in range(BIG // 10_000):
                await response.write(b"x" * 10_000)
                self.sent += 10_000
        return response

    async def _cut(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        response.content_length = 2_000
        await response.prepare(request)
        await response.write(b"y" * 1_000)
        assert request.transport is not None
        request.transport.abort()
        return response
