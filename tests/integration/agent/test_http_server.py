"""The HTTP server against clients that take their time, or come in crowds; short limits, real sockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from driftstack_agent import http_server
from driftstack_agent.endpoints import refusal
from driftstack_agent.http_server import HttpServer, Request, Response


async def echo(request: Request) -> Response:
    if request.target == "/slow":
        await asyncio.sleep(0.3)
    return Response(200, request.body, "text/plain")


@pytest.fixture
async def server(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[HttpServer, int]]:
    monkeypatch.setattr(http_server, "REQUEST_SECONDS", 0.2)
    monkeypatch.setattr(http_server, "IDLE_SECONDS", 0.4)
    monkeypatch.setattr(http_server, "CONNECTIONS", 3)
    server = HttpServer(echo, refusal)
    port = await server.start("127.0.0.1", 0)
    yield server, port
    await server.close()


async def talk(port: int, *pieces: bytes, pause: float = 0.0) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        for piece in pieces:
            writer.write(piece)
            await asyncio.sleep(pause)
        async with asyncio.timeout(3):
            return await reader.read()
    except ConnectionResetError:
        return b""
    finally:
        writer.close()


POST = b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\n"


async def test_a_request_in_pieces_is_one(server: tuple[HttpServer, int]) -> None:
    answer = await talk(server[1], POST[:20], POST[20:], b"ab", b"c", pause=0.02)
    assert answer.startswith(b"HTTP/1.1 200")
    assert answer.endswith(b"abc")


@pytest.mark.parametrize("unfinished", [b"GET /a HT", POST, POST + b"ab"])
async def test_a_request_that_does_not_end_is_dropped(server: tuple[HttpServer, int], unfinished: bytes) -> None:
    assert await talk(server[1], unfinished) == b""


async def test_an_idle_connection_is_closed(server: tuple[HttpServer, int]) -> None:
    assert await talk(server[1]) == b""


async def test_a_client_that_waits_to_be_told_is_told(server: tuple[HttpServer, int]) -> None:
    head = POST.replace(b"\r\n\r\n", b"\r\nExpect: 100-continue\r\n\r\n")
    answer = await talk(server[1], head, b"abc", pause=0.02)
    assert answer.startswith(b"HTTP/1.1 100")
    assert b"HTTP/1.1 200" in answer


async def test_more_connections_than_allowed_are_closed_at_once(server: tuple[HttpServer, int]) -> None:
    opened = [await asyncio.open_connection("127.0.0.1", server[1]) for _ in range(4)]
    async with asyncio.timeout(0.3):
        assert await opened[3][0].read() == b""
    opened[0][1].write(POST + b"abc")
    assert (await opened[0][0].readline()).startswith(b"HTTP/1.1 200")
    for _, writer in opened:
        writer.close()


async def test_closing_lets_an_answer_finish_and_says_so(server: tuple[HttpServer, int]) -> None:
    running = asyncio.create_task(talk(server[1], POST.replace(b"/a", b"/slow") + b"abc"))
    await asyncio.sleep(0.1)
    await server[0].close()
    answer = await running
    assert answer.endswith(b"abc")
    assert b"Connection: close" in answer


async def test_an_answer_that_nobody_waits_for_is_given_up() -> None:
    begun, given_up = asyncio.Event(), asyncio.Event()

    async def endless(_: Request) -> Response:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            given_up.set()
        return Response(200, b"")

    server = HttpServer(endless, refusal)
    port = await server.start("127.0.0.1", 0)
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(POST + b"abc")
    async with asyncio.timeout(3):
        await begun.wait()
        writer.close()
        await given_up.wait()
    await server.close()


async def test_a_request_sent_ahead_waits_for_its_turn(server: tuple[HttpServer, int]) -> None:
    slow = POST.replace(b"/a", b"/slow") + b"one"
    last = POST.replace(b"Host", b"Connection: close\r\nHost") + b"two"
    answer = await talk(server[1], slow, last[:30], last[30:], pause=0.05)
    assert answer.count(b"HTTP/1.1 200") == 2
    assert answer.index(b"one") < answer.index(b"two")
