"""The agent's side of a WebSocket: text messages on a connection that has been HTTP. wsproto knows the protocol.

What waits to be sent is in the transport's buffer, and `backlog` tells how much: whoever sends decides what is too
much.
"""

from __future__ import annotations

import asyncio
import contextlib
import struct
from collections.abc import Iterator
from typing import Final

from wsproto import ConnectionType, WSConnection
from wsproto.connection import ConnectionState
from wsproto.events import AcceptConnection, BytesMessage, CloseConnection, Event, Ping, TextMessage
from wsproto.utilities import LocalProtocolError, RemoteProtocolError

from driftstack_agent.errors import SocketClosed, StepError
from driftstack_agent.http_server import Request
from driftstack_common.protocol import ProblemCode
from driftstack_common.protocol_devtools import DEVTOOLS_MESSAGE_LIMIT, CloseCode

PING_SECONDS: Final = 20.0
"""Silence after which the client is asked whether it is there; as long again, and it counts as gone."""
CLOSE_SECONDS: Final = 5.0
"""How long a client may take to read what waits and to close."""
_CHUNK: Final = 256 * 1024
_TEXT: Final = 0x81


class Handshake:
    """The opening handshake of a request; `switch` answers it.

    Raises:
        StepError: invalid, the request asks for no WebSocket of version 13.
    """

    def __init__(self, request: Request) -> None:
        self.protocol = WSConnection(ConnectionType.SERVER)
        headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in request.headers.items()]
        try:
            self.protocol.initiate_upgrade_connection(headers, request.target)
            self.switch = self.protocol.send(AcceptConnection())
        except (RemoteProtocolError, LocalProtocolError) as error:
            why = f"this call opens a WebSocket (RFC 6455, version 13): {error}"
            raise StepError(ProblemCode.INVALID, why) from error


class WebSocket:
    """An open WebSocket.

    Args:
        received: what has been read of it already.
        limit: most bytes of a message.
    """

    def __init__(
        self,
        protocol: WSConnection,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        received: bytes = b"",
        limit: int = DEVTOOLS_MESSAGE_LIMIT,
    ) -> None:
        self._protocol = protocol
        self._reader = reader
        self._writer = writer
        self._received = received
        self._limit = limit
        self._events: Iterator[Event] = iter(())
        self._parts: list[bytes] = []
        self._size = 0

    @property
    def backlog(self) -> int:
        """Bytes that wait for the client to read."""
        return self._writer.transport.get_write_buffer_size()

    def send(self, text: bytes) -> None:
        """Queue a message, in UTF-8; none, when the WebSocket is over."""
        if self._protocol.state is ConnectionState.OPEN and not self._writer.is_closing():
            self._writer.writelines((_head(len(text)), text))

    def _write(self, event: Event) -> None:
        if self._writer.is_closing():
            return
        with contextlib.suppress(LocalProtocolError):  # closing
            self._writer.write(self._protocol.send(event))

    async def receive(self) -> bytes:
        """Return the client's next message.

        Raises:
            SocketClosed: there is none.
            OSError: the client is gone.
        """
        while True:
            for event in self._events:
                message = self._take(event)
                if message is not None:
                    return message
            await self._read()

    async def _read(self) -> None:
        """Read once; a silent client is asked, once, whether it is there."""
        data, self._received = self._received, b""
        asked = False
        while not data:
            try:
                async with asyncio.timeout(PING_SECONDS):
                    data = await self._reader.read(_CHUNK)
            except TimeoutError:
                if asked:
                    raise SocketClosed(CloseCode.NORMAL, "the client is silent") from None
                self._write(Ping())
                asked = True
            else:
                if not data:
                    raise SocketClosed(CloseCode.NORMAL, "the client has gone")
        try:
            self._protocol.receive_data(data)
        except LocalProtocolError as error:
            raise SocketClosed(CloseCode.PROTOCOL, str(error)) from error
        self._events = self._protocol.events()

    def _take(self, event: Event) -> bytes | None:
        match event:
            case TextMessage():
                return self._collect(event)
            case BytesMessage():
                raise SocketClosed(CloseCode.UNSUPPORTED, "messages are text")
            case Ping():
                self._write(event.response())
            case CloseConnection():
                theirs = self._protocol.state is not ConnectionState.OPEN  # else, frames that are none
                raise (
                    SocketClosed(CloseCode.NORMAL)
                    if theirs
                    else SocketClosed(CloseCode(event.code), event.reason or "")
                )
        return None

    def _collect(self, event: TextMessage) -> bytes | None:
        if part := event.data.encode():  # of empty ones there may be any number
            self._parts.append(part)
            self._size += len(part)
        if self._size > self._limit:
            raise SocketClosed(CloseCode.TOO_LARGE, f"a message has at most {self._limit} bytes")
        if not event.message_finished:
            return None
        message = b"".join(self._parts)
        self._parts, self._size = [], 0
        return message

    async def close(self, code: CloseCode, reason: str) -> None:
        """Say why, let the client read what waits, and wait for its own close, all of it not for long."""
        self._parts.clear()
        self._write(CloseConnection(code=code, reason=reason))
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                await self._writer.drain()
                while self._protocol.state is not ConnectionState.CLOSED and (
                    data := await self._reader.read(_CHUNK)
                ):
                    self._protocol.receive_data(data)
                    for _ in self._protocol.events():
                        pass
        except (OSError, TimeoutError, LocalProtocolError, RemoteProtocolError):
            self._writer.transport.abort()


def _head(size: int) -> bytes:
    """Return the head of a whole text message's frame; wsproto's own would copy the text five times."""
    if size < 126:
        return bytes((_TEXT, size))
    return struct.pack("!BBH", _TEXT, 126, size) if size < 65536 else struct.pack("!BBQ", _TEXT, 127, size)
