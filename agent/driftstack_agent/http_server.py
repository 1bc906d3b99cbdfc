"""A small HTTP/1.1 server on asyncio streams; h11 reads and writes the protocol.

aiohttp's server alone takes more memory than the whole agent may (docs/decisions/0010). Everything a peer can make
us hold is bounded: connections, header bytes, body bytes, and the time it takes to send a request.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final, NamedTuple

import h11

BODY_LIMIT: Final = 1024 * 1024 + 64 * 1024
"""Bytes: a body of the facade's own limit gets through here with what is added on the way."""
HEADER_LIMIT: Final = 16 * 1024
CONNECTIONS: Final = 64
IDLE_SECONDS: Final = 75.0
"""How long a kept-alive connection may wait for its next request; longer than clients keep theirs."""
REQUEST_SECONDS: Final = 10.0
"""How long a request may take to arrive, from its first byte."""
WRITE_SECONDS: Final = 30.0
"""How long a client may take to read an answer (6 MiB at most)."""
_LINGER_SECONDS: Final = 1.0
_CLOSE_SECONDS: Final = 1.0
_CHUNK: Final = 64 * 1024


class Request(NamedTuple):
    """A whole request; header names are lower case, repeated headers joined by a comma."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes


class Response(NamedTuple):
    """An answer."""

    status: int
    body: bytes
    content_type: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()


class Upgrade(NamedTuple):
    """An answer after which the connection speaks another protocol.

    Attributes:
        switch: the bytes of the 101 answer.
        serve: has the connection from then on; its last argument is what has been read of the other protocol.
    """

    switch: bytes
    serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter, bytes], Awaitable[None]]


class BodyTooLarge(Exception):
    """A request's body is over BODY_LIMIT; size is what it says or what has come of it."""

    def __init__(self, size: int) -> None:
        super().__init__(f"{size} bytes")
        self.size = size


Handler = Callable[[Request], Coroutine[Any, Any, Response | Upgrade]]
Refusal = Callable[[BodyTooLarge | None], Response]
Answer = Callable[["_Peer", Request], Awaitable[None]]


class HttpServer:
    """Serves a handler.

    Args:
        handler: makes the answer; must not raise. It is cancelled when its client goes away.
        refusal: makes the answer to what is no acceptable request: the body too large, or None for bad HTTP.
    """

    def __init__(self, handler: Handler, refusal: Refusal) -> None:
        self._handler = handler
        self._refusal = refusal
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self._answering = 0
        self._quiet = asyncio.Event()
        self._quiet.set()
        self._closing = False

    async def start(self, host: str, port: int) -> int:
        """Listen; return the port.

        Raises:
            OSError: the address can't be used.
        """
        self._server = await asyncio.start_server(self._accept, host, port, limit=_CHUNK)
        return int(self._server.sockets[0].getsockname()[1])

    async def close(self) -> None:
        """Accept no more, give running answers a second, close what is open."""
        self._closing = True
        if self._server is not None:
            self._server.close()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._quiet.wait(), _CLOSE_SECONDS)
        for task in self._connections:
            task.cancel()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None or len(self._connections) >= CONNECTIONS:
            writer.close()
            return
        self._connections.add(task)
        try:
            await _Peer(reader, writer).serve(self._answer, self._refusal)
        except (OSError, TimeoutError, asyncio.CancelledError):
            pass  # the peer is gone or too slow, or we are closing: there is nobody to tell
        finally:
            self._connections.discard(task)
            writer.close()

    async def _answer(self, peer: _Peer, request: Request) -> None:
        self._answering += 1
        self._quiet.clear()
        try:
            response = await peer.unless_gone(self._handler(request))
            if isinstance(response, Upgrade):
                await peer.upgrade(response)
                return
            if self._closing:
                response = response._replace(headers=(*response.headers, ("Connection", "close")))
            await peer.write(response)
        finally:
            self._answering -= 1
            if self._answering == 0:
                self._quiet.set()


class _Peer:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._protocol = h11.Connection(h11.SERVER, max_incomplete_event_size=HEADER_LIMIT)

    async def serve(self, answer: Answer, refusal: Refusal) -> None:
        """Answer requests until one side closes."""
        while True:
            try:
                request = await self._read()
            except BodyTooLarge as error:
                return await self._refuse(refusal(error))
            except h11.RemoteProtocolError:
                return await self._refuse(refusal(None))
            if request is None:
                return None
            await answer(self, request)
            if self._protocol.our_state is not h11.DONE or self._protocol.their_state is not h11.DONE:
                return None
            self._protocol.start_next_cycle()

    async def unless_gone(self, answer: Coroutine[Any, Any, Response | Upgrade]) -> Response | Upgrade:
        """Return the answer; give it up when the client closes first, for nobody would hear it.

        Raises:
            ConnectionError: the client has gone.
        """
        making = asyncio.ensure_future(answer)
        reading = asyncio.ensure_future(self._receive())
        try:
            await asyncio.wait((making, reading), return_when=asyncio.FIRST_COMPLETED)
            if not making.done() and (reading.exception() or self._reader.at_eof()):
                raise ConnectionError("the client has gone")
            # What came instead is the beginning of the next request: kept, but no more is read before the answer.
            return await making
        finally:
            making.cancel()
            reading.cancel()
            await asyncio.gather(making, reading, return_exceptions=True)

    async def _read(self) -> Request | None:
        """Return the next request, None when the peer closed before one."""
        if not self._protocol.trailing_data[0]:
            async with asyncio.timeout(IDLE_SECONDS):
                await self._receive()
        async with asyncio.timeout(REQUEST_SECONDS):
            head = await self._next()
            if not isinstance(head, h11.Request):
                return None
            return _request(head, await self._body(head))

    async def _body(self, head: h11.Request) -> bytes:
        declared = dict(head.headers).get(b"content-length", b"0")
        if int(declared) > BODY_LIMIT:
            raise BodyTooLarge(int(declared))
        body = bytearray()
        while isinstance(event := await self._next(), h11.Data):
            body += event.data
            if len(body) > BODY_LIMIT:
                raise BodyTooLarge(len(body))
        return bytes(body)

    async def _next(self) -> object:
        while (event := self._protocol.next_event()) is h11.NEED_DATA:
            if self._protocol.they_are_waiting_for_100_continue:
                go_on = h11.InformationalResponse(status_code=100, headers=[])
                self._writer.write(self._protocol.send(go_on) or b"")
            await self._receive()
        return event

    async def _receive(self) -> None:
        self._protocol.receive_data(await self._reader.read(_CHUNK))

    async def write(self, response: Response) -> None:
        """Send an answer."""
        headers = [
            ("Content-Type", response.content_type),
            ("Content-Length", str(len(response.body))),
            ("Cache-Control", "no-store"),
            ("X-Content-Type-Options", "nosniff"),
            *response.headers,
        ]
        send = self._protocol.send
        head = h11.Response(status_code=response.status, headers=headers)
        events = (head, h11.Data(data=response.body), h11.EndOfMessage())
        self._writer.writelines([send(event) or b"" for event in events])  # at once: the client wakes up once
        async with asyncio.timeout(WRITE_SECONDS):
            await self._writer.drain()

    async def upgrade(self, upgrade: Upgrade) -> None:
        """Give the connection away, until the other protocol is done with it; then it is closed."""
        self._writer.write(upgrade.switch)
        await upgrade.serve(self._reader, self._writer, self._protocol.trailing_data[0])

    async def _refuse(self, response: Response) -> None:
        """Answer and close; read on for a moment, or the answer is lost with the unread bytes (TCP reset)."""
        if self._protocol.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            return
        await self.write(response._replace(headers=(("Connection", "close"),)))
        self._writer.write_eof()
        async with asyncio.timeout(_LINGER_SECONDS):
            while await self._reader.read(_CHUNK):
                pass


def _request(head: h11.Request, body: bytes) -> Request:
    headers: dict[str, str] = {}
    for name, value in head.headers:
        key, text = name.decode("latin-1"), value.decode("latin-1")
        headers[key] = f"{headers[key]}, {text}" if key in headers else text
    return Request(head.method.decode("latin-1"), head.target.decode("latin-1"), headers, body)
