"""The WebSocket itself: what is asked of its clients, and how it closes; short limits, real sockets."""

from __future__ import annotations

import asyncio
import base64
import os
from collections.abc import AsyncIterator

import aiohttp
import pytest
from wsproto.events import TextMessage

from driftstack_agent import websocket
from driftstack_agent.endpoints import problem, refusal
from driftstack_agent.errors import SocketClosed, StepError
from driftstack_agent.http_server import HttpServer, Request, Response, Upgrade
from driftstack_agent.websocket import Handshake, WebSocket
from driftstack_common.protocol_devtools import CloseCode

LIMIT = 300_000


async def echo(request: Request) -> Response | Upgrade:
    try:
        handshake = Handshake(request)
    except StepError as error:
        return problem(error.problem)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, received: bytes) -> None:
        socket = WebSocket(handshake.protocol, reader, writer, received, limit=LIMIT)
        try:
            while True:
                socket.send(await socket.receive())
        except SocketClosed as closed:
            await socket.close(closed.code, closed.reason)

    return Upgrade(handshake.switch, serve)


@pytest.fixture
async def port(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[int]:
    monkeypatch.setattr(websocket, "PING_SECONDS", 0.2)
    monkeypatch.setattr(websocket, "CLOSE_SECONDS", 0.3)
    server = HttpServer(echo, refusal)
    yield await server.start("127.0.0.1", 0)
    await server.close()


@pytest.fixture
async def socket(port: int) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
    async with aiohttp.ClientSession() as http, http.ws_connect(f"http://127.0.0.1:{port}/") as socket:
        yield socket


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65_535, 65_536, LIMIT])
async def test_messages_of_every_size_come_back(socket: aiohttp.ClientWebSocketResponse, size: int) -> None:
    await socket.send_str("x" * size)
    assert await socket.receive_str() == "x" * size


async def test_a_message_over_the_limit_closes(socket: aiohttp.ClientWebSocketResponse) -> None:
    await socket.send_str("é" * (LIMIT // 2) + "x")
    assert (await socket.receive()).extra == f"a message has at most {LIMIT} bytes"
    assert socket.close_code == CloseCode.TOO_LARGE


async def test_bytes_close(socket: aiohttp.ClientWebSocketResponse) -> None:
    await socket.send_bytes(b"{}")
    await socket.receive()
    assert socket.close_code == CloseCode.UNSUPPORTED


async def test_a_ping_is_answered_between_messages(socket: aiohttp.ClientWebSocketResponse) -> None:
    await socket.ping(b"here?")
    await socket.send_str("after")
    assert await socket.receive_str() == "after"


async def test_closing_is_answered(socket: aiohttp.ClientWebSocketResponse) -> None:
    assert await socket.close(code=1000)
    assert socket.close_code == CloseCode.NORMAL


async def test_a_client_that_answers_pings_may_be_silent(socket: aiohttp.ClientWebSocketResponse) -> None:
    with pytest.raises(TimeoutError):  # three times the silence after which one counts as gone
        async with asyncio.timeout(1.2):
            await socket.receive()


class Bare:
    """A WebSocket client by hand."""

    def __init__(self, port: int) -> None:
        self._port = port

    async def __aenter__(self) -> Bare:
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self._port)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.writer.close()

    def upgrade(self, version: int = 13, upgrade: str = "websocket", more: bytes = b"") -> None:
        key = base64.b64encode(os.urandom(16)).decode()
        head = (
            f"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: keep-alive, Upgrade\r\nUpgrade: {upgrade}\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: {version}\r\n\r\n"
        )
        self.writer.write(head.encode() + more)

    async def rest(self) -> bytes:
        async with asyncio.timeout(3):
            return await self.reader.read()


def frame(first: int, payload: bytes, masked: bool = True) -> bytes:
    """Return a short frame; the mask changes nothing."""
    return bytes((first, len(payload) | (0x80 if masked else 0))) + (bytes(4) if masked else b"") + payload


HELLO_BACK = b"\x81\x05hello"


async def test_a_message_in_the_same_breath_as_the_upgrade(port: int) -> None:
    async with Bare(port) as bare:
        bare.upgrade(more=frame(0x81, b"hello") + frame(0x88, b"\x03\xe8"))
        answer = await bare.rest()
    head, _, rest = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 101 ")
    assert rest == HELLO_BACK + b"\x88\x02\x03\xe8"


async def test_a_message_in_fragments_is_one(port: int) -> None:
    fragments = frame(0x01, b"he") + frame(0x89, b"") + frame(0x00, b"l") + frame(0x80, b"lo")
    async with Bare(port) as bare:
        bare.upgrade(more=fragments + frame(0x88, b"\x03\xe8"))
        assert (await bare.rest()).endswith(b"\x8a\x00" + HELLO_BACK + b"\x88\x02\x03\xe8")


async def test_empty_fragments_are_not_kept(monkeypatch: pytest.MonkeyPatch, port: int) -> None:
    kept: list[int] = []
    collect = WebSocket._collect

    def counted(self: WebSocket, event: TextMessage) -> bytes | None:
        message = collect(self, event)
        kept.append(len(self._parts))
        return message

    monkeypatch.setattr(WebSocket, "_collect", counted)
    fragments = frame(0x01, b"hello") + 100 * frame(0x00, b"") + frame(0x80, b"")
    async with Bare(port) as bare:
        bare.upgrade(more=fragments + frame(0x88, b"\x03\xe8"))
        assert (await bare.rest()).endswith(HELLO_BACK + b"\x88\x02\x03\xe8")
    assert len(kept) > 100
    assert max(kept) == 1


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (frame(0x81, b"\xff"), CloseCode.NOT_TEXT),
        (frame(0x81, b"hello", masked=False), CloseCode.PROTOCOL),
        (frame(0x83, b"hello"), CloseCode.PROTOCOL),
        (frame(0xC1, b"hello"), CloseCode.PROTOCOL),
        (frame(0x80, b"hello"), CloseCode.PROTOCOL),
    ],
)
async def test_what_is_no_text_message_closes(port: int, sent: bytes, code: CloseCode) -> None:
    async with Bare(port) as bare:
        bare.upgrade(more=sent)
        close = (await bare.rest()).partition(b"\r\n\r\n")[2]
    assert close[0] == 0x88
    assert int.from_bytes(close[2:4]) == code


async def test_a_client_that_answers_no_ping_is_gone(port: int) -> None:
    async with Bare(port) as bare:
        bare.upgrade()
        said = (await bare.rest()).partition(b"\r\n\r\n")[2]
    assert said.startswith(b"\x89\x00\x88")
    assert said.endswith(b"\x03\xe8the client is silent")


@pytest.mark.parametrize("asked", [{"version": 12}, {"upgrade": "h2c"}])
async def test_other_upgrades_are_invalid(port: int, asked: dict[str, int | str]) -> None:
    async with Bare(port) as bare:
        bare.upgrade(**asked)  # type: ignore[arg-type]
        bare.writer.write_eof()
        assert (await bare.rest()).startswith(b"HTTP/1.1 400 ")
