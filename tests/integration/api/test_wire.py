"""Below the application: bytes that are no HTTP, heads without bounds, callers that hang up, a stopped replica."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import structlog
from structlog.testing import capture_logs

from driftstack_api.context import RequestContext
from tests.integration.api.test_client import served
from tests.integration.api.world import Facade, World, application
from tests.unit.api.polling import until

MIB = 1024 * 1024
BASE = "https://errors.driftstack.dev/"


class Line:
    """A connection to a served facade."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, key: str) -> None:
        self.reader = reader
        self.writer = writer
        self._key = key

    def send(self, raw: bytes) -> None:
        """Send bytes, with KEY replaced by a key that works."""
        self.writer.write(raw.replace(b"KEY", self._key.encode()))

    async def answer(self) -> tuple[str, dict[str, str], bytes]:
        """Return status line, headers and body of the next answer."""
        async with asyncio.timeout(5):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:-2])}
            return head[0], headers, await self.reader.readexactly(int(headers.get("content-length", "0")))

    async def problem(self, status: int, slug: str) -> dict[str, Any]:
        """Assert that the next answer is this problem, whole."""
        line, headers, body = await self.answer()
        assert line.startswith(f"HTTP/1.1 {status} "), line
        assert headers["content-type"] == "application/problem+json"
        problem: dict[str, Any] = json.loads(body)
        assert problem["type"] == BASE + slug
        assert problem["status"] == status
        assert problem["instance"] == headers["x-request-id"]
        return problem


@asynccontextmanager
async def line(world: World) -> AsyncIterator[Line]:
    """Serve the facade, and connect to it."""
    async with application(world) as app, served(app) as url:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rsplit(":", 1)[1]))
        try:
            yield Line(reader, writer, world.keys["acme"].plaintext)
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()


@pytest.mark.parametrize(
    "raw",
    [
        b"nonsense\r\n\r\n",
        b"get / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET v1/sessions HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /v1/ sessions HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/9.9\r\nHost: x\r\n\r\n",
        b"GET http:// HTTP/1.1\r\nHost: x\r\n\r\n",
        b"CONNECT a.test:443 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        bytes.fromhex("16030100a5010000a10303"),
        b"GET / HTTP/1.1\r\nHost: x\r\nX: a\0b\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nX: a\r\n folded\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nno colon\r\n\r\n",
        b"POST /v1/sessions HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"POST /v1/sessions HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999999\r\n\r\n",
        b"POST /v1/sessions HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /v1/sessions HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n",
        b"POST /v1/sessions HTTP/1.1\r\nAuthorization: Bearer KEY\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"GET /caf\xc3\xa9 HTTP/1.1\r\nHost: x\r\n\r\n",
    ],
)
async def test_what_is_no_http_request(world: World, raw: bytes) -> None:
    async with line(world) as wire:
        wire.send(raw)
        await wire.problem(400, "bad-request")
        assert await wire.reader.read() == b"", "and the connection ends"


@pytest.mark.parametrize(
    ("raw", "status", "slug"),
    [
        (b"GET /v1/sessions?limit=1 HTTP/1.1\r\nHost: x\r\n\r\n", 401, "unauthorized"),
        (b"GET /v1/sessions HTTP/1.0\r\n\r\n", 401, "unauthorized"),
        (b"GET http://other/v1/sessions HTTP/1.1\r\nHost: x\r\n\r\n", 401, "unauthorized"),
        (b"GET /%ff%fe/%00 HTTP/1.1\r\nHost: x\r\n\r\n", 404, "not-found"),
        (b"GET /v1/sessions/%zz%f HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer KEY\r\n\r\n", 404, "not-found"),
        (b"GET //v1/sessions HTTP/1.1\r\nHost: x\r\n\r\n", 404, "not-found"),
        (b"GET //v1:x/sessions HTTP/1.1\r\nHost: x\r\n\r\n", 404, "not-found"),
        (b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", 404, "not-found"),
        (b"TRACE /v1/sessions HTTP/1.1\r\nHost: x\r\n\r\n", 405, "bad-request"),
        (
            b"GET /nothing HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
            404,
            "not-found",
        ),
        (
            b"POST /v1/sessions HTTP/1.1\r\nHost: x\r\nExpect: 200-ok\r\nContent-Length: 2\r\n\r\n{}",
            401,
            "unauthorized",
        ),
        (
            b"GET /v1/sessions/" + b"a" * 60_000 + b" HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer KEY\r\n\r\n",
            404,
            "not-found",
        ),
    ],
)
async def test_odd_requests(world: World, raw: bytes, status: int, slug: str) -> None:
    async with line(world) as wire:
        wire.send(raw)
        await wire.problem(status, slug)


async def test_a_head_request_is_told_by_its_headers_alone(world: World) -> None:
    async with line(world) as wire:
        wire.send(b"HEAD /v1/sessions HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        async with asyncio.timeout(5):
            head, _, body = (await wire.reader.read()).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 405 ")
        assert b"allow: GET, POST" in head
        assert body == b""


@pytest.mark.parametrize("expect", [b"", b"Expect: 100-continue\r\n"])
async def test_an_announced_body_over_1_mib_is_not_read(world: World, expect: bytes) -> None:
    async with line(world) as wire:
        wire.send(
            b"POST /v1/sessions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer KEY\r\n"
            + expect
            + f"Content-Length: {MIB + 1}\r\n\r\n".encode()
        )
        problem = await wire.problem(413, "payload-too-large")
        assert (problem["limit_bytes"], problem["size_bytes"]) == (MIB, MIB + 1)
        assert await wire.reader.read() == b""


async def test_a_body_that_is_asked_for(world: World) -> None:
    async with line(world) as wire:
        wire.send(
            b"POST /v1/sessions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer KEY\r\n"
            b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\n"
        )
        assert (await wire.answer())[0] == "HTTP/1.1 100 Continue"
        wire.send(b"{}")
        assert (await wire.answer())[0] == "HTTP/1.1 201 Created"


async def test_a_head_that_never_ends_is_cut_off(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("driftstack_api.wire.HEAD_SECONDS", 0.2)
    async with line(world) as wire:
        wire.send(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await wire.answer())[0] == "HTTP/1.1 200 OK"
        wire.send(b"GET /healthz HTTP/1.1\r\nHost: ")
        assert await asyncio.wait_for(wire.reader.read(), 5) == b""


async def test_a_head_without_bounds_is_cut_off(world: World) -> None:
    async with line(world) as wire:
        wire.send(b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Endless: " + b"x" * MIB)
        with contextlib.suppress(ConnectionError):  # what is left unread resets the connection
            assert "at most 65536 bytes" in (await wire.problem(400, "bad-request"))["detail"]


async def test_a_caller_that_hangs_up_is_no_crash(world: World, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "driftstack_api.context")
    async with line(world) as wire:
        with capture_logs() as logs:
            wire.send(
                b"POST /v1/sessions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer KEY\r\nContent-Length: 9\r\n\r\n{"
            )
            wire.writer.close()
            await until(lambda: [entry for entry in logs if entry["event"] == "request"])
    (entry,) = [entry for entry in logs if entry["event"] == "request"]
    assert (entry["status"], entry["log_level"]) == (499, "info")
    assert not [entry for entry in logs if entry["log_level"] in ("error", "critical")]


async def test_a_call_that_is_cut_off_when_the_replica_stops_is_a_503(api: Facade, world: World) -> None:
    session = await api.ready()
    world.agent.hold.clear()
    path = f"/v1/sessions/{session['id']}/navigate"
    async with served(api.app) as url:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rsplit(":", 1)[1]))
        wire = Line(reader, writer, world.keys["acme"].plaintext)
        wire.send(
            f"POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer KEY\r\nContent-Length: 21\r\n\r\n".encode()
            + b'{"url":"about:blank"}'
        )
        await until(lambda: world.agent.running)
        for task in asyncio.all_tasks():
            if "RequestResponseCycle.run_asgi" in repr(task.get_coro()):
                task.cancel()  # as uvicorn does when its grace is over
        await wire.problem(503, "feature-unavailable")
        writer.close()


async def test_a_crash_in_the_midst_of_an_answer_ends_the_connection() -> None:
    sent: list[Any] = []

    async def crash(_scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise RuntimeError("the secret is swordfish")

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "GET", "path": "/v1/x", "headers": []}
    with structlog.testing.capture_logs(), pytest.raises(RuntimeError):
        await RequestContext(crash, BASE)(scope, lambda: None, send)  # type: ignore[arg-type] # never called
    assert [message["type"] for message in sent] == ["http.response.start"], "nothing is written after it"
