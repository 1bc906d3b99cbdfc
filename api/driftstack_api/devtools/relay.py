"""One DevTools connection: bytes between a client and its session's agent, both ways, as they come.

Messages are not decoded, so none is ever held as a whole: what one side doesn't take is a bounded buffer, and then
the other side is no longer read. Only the heads of the agent's frames are followed, so that a close of our own is
put between two of them.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable
from typing import Final

from driftstack_api.devtools.frames import Frames, close_frame
from driftstack_api.metrics import DEVTOOLS_BYTES

HIGH_WATER: Final = 64 * 1024
"""Bytes that wait for one side before the other is no longer read; one read more may come on top."""
DEAD_SECONDS: Final = 60
"""How long a client may leave unacknowledged what it is sent; of silent ones the agent's pings take care."""
CLOSE_SECONDS: Final = 0.5
"""How long the frame under way may take to end before a close frame, and the client to hang up after it."""
SHUTTING_DOWN: Final = 1012
LOST: Final = 1006

_FROM_CLIENT: Final = DEVTOOLS_BYTES.labels("from_client")
_TO_CLIENT: Final = DEVTOOLS_BYTES.labels("to_client")


class Relay:
    """Connects a client with an agent.

    Attributes:
        client, agent: the protocols of the two transports.
        code: with which the client's connection was closed; 1006 as long as it isn't.
        received, sent: bytes from the client, and to it.
        begun: whether the client's connection has been taken over.

    Args:
        opened: called when the client's handshake is answered.
        lost: called when the agent hangs up without a close frame; it must `close` with why, soon.
        closed: called once, when the client's connection is over.
    """

    def __init__(
        self,
        opened: Callable[[Relay], None],
        lost: Callable[[Relay], None],
        closed: Callable[[Relay], None],
    ) -> None:
        self.client = ClientSide(self)
        self.agent = AgentSide(self)
        self.code = LOST
        self.received = 0
        self.sent = 0
        self.started = time.monotonic()
        self._frames = Frames()
        self._opened = opened
        self._lost = lost
        self._closed = closed
        self._closing: bytes | None = None
        self._over = False
        self._early = b""
        self.begun = False
        self._timer: asyncio.TimerHandle | None = None

    def dialled(self, transport: asyncio.Transport, early: bytes) -> None:
        """Take over the agent's connection; early is what it has sent already."""
        transport.set_protocol(self.agent)
        self.agent.connection_made(transport)
        self._early = early

    @property
    def open(self) -> bool:
        """Whether bytes pass: no side has closed, and neither have we."""
        return self._closing is None and not self._over

    def begin(self) -> None:
        """Let bytes pass: the client is there."""
        self.begun = True
        self._opened(self)
        if self._early:
            self.from_agent(self._early)
        self.client.read()
        self.agent.read()

    def from_client(self, data: bytes) -> None:
        """Pass on what a client sends."""
        if self.open:
            self.received += len(data)
            _FROM_CLIENT.inc(len(data))
            self.agent.write(data)

    def from_agent(self, data: bytes) -> None:
        """Pass on what an agent sends: once we are closing, only what is left of the frame under way."""
        if self._over:
            return
        if self._closing is None:
            self._frames.feed(data)
        else:
            data = data[: self._frames.finish(data)]
        self.sent += len(data)
        _TO_CLIENT.inc(len(data))
        self.client.write(data)
        if self._closing is not None and self._frames.between:
            self._finish(self._closing)

    def close(self, code: int, reason: str) -> None:
        """Close both sides, the client's with this code; nothing that either sends passes any more."""
        if not self.open:
            return
        self.code = code
        self._closing = close_frame(code, reason)
        if self._frames.between:
            self._finish(self._closing)
        elif self.agent.gone:
            self.abandon()
        else:
            self._after(CLOSE_SECONDS, self.abandon)

    def abandon(self) -> None:
        """Hang up on both sides at once."""
        self._over = True
        self.client.abort()
        self.agent.abort()

    def client_gone(self) -> None:
        """Tell the agent, which still gets what the client has sent."""
        if self.code == LOST:
            self.code = self._frames.close_code or LOST
        self._over = True
        if self._timer is not None:
            self._timer.cancel()
        self.agent.hang_up()
        self._closed(self)

    def agent_gone(self) -> None:
        """Hang up on the client when the agent has closed in due form; else find out why."""
        if self._over:
            return
        if self._closing is not None:
            self.abandon()
        elif self._frames.close_code is None:
            self._lost(self)
        else:
            self.code = self._frames.close_code
            self._finish(b"")

    def _finish(self, last: bytes) -> None:
        """Send the last bytes; the client hangs up then, or we do: a client that still sends would lose them."""
        self._over = True
        self.agent.abort()
        self.client.write(last)
        self.client.end()
        self._after(CLOSE_SECONDS, self.client.abort)

    def _after(self, seconds: float, act: Callable[[], None]) -> None:
        """Have one timer run, the last."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(seconds, act)


class _Side(asyncio.Protocol):
    """One transport of a relay; `full` while more bytes wait for it than should."""

    def __init__(self, relay: Relay) -> None:
        self.relay = relay
        self.full = False
        self.gone = False
        self._transport: asyncio.Transport | None = None

    @property
    def other(self) -> _Side:
        """The transport on the relay's other side."""
        raise NotImplementedError

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn
        """Take the transport."""
        self._transport = transport
        transport.set_write_buffer_limits(HIGH_WATER)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the transport."""
        self.gone = True
        self._transport = None

    def pause_writing(self) -> None:
        """Read no more of what is to be written here."""
        self.full = True
        self.other.rest()

    def resume_writing(self) -> None:
        """Read again."""
        self.full = False
        self.other.read()

    def rest(self) -> None:
        """Stop reading."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.pause_reading()

    def read(self) -> None:
        """Go on reading, unless the other side is full."""
        if self._transport is not None and not self._transport.is_closing() and not self.other.full:
            self._transport.resume_reading()

    def write(self, data: bytes) -> None:
        """Send bytes, to nobody when nobody is there."""
        if data and self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    def abort(self) -> None:
        """Hang up at once."""
        if self._transport is not None:
            self._transport.abort()


class ClientSide(_Side):
    """The client's transport; uvicorn counts it among its connections and shuts it down with them.

    Attributes:
        left: called when it is over.
    """

    def __init__(self, relay: Relay) -> None:
        super().__init__(relay)
        self.left: Callable[[], object] = lambda: None

    @property
    def other(self) -> _Side:
        """The agent's."""
        return self.relay.agent

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn
        """Take the transport over from HTTP."""
        super().connection_made(transport)
        plain: socket.socket = transport.get_extra_info("socket")
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, DEAD_SECONDS * 1000)
        self.relay.begin()

    def data_received(self, data: bytes) -> None:
        """Pass it on."""
        self.relay.from_client(data)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the relay and uvicorn."""
        super().connection_lost(exc)
        self.left()
        self.relay.client_gone()

    def end(self) -> None:
        """Say that nothing more comes; reading goes on, so that what the client still sends does no harm."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write_eof()
            self._transport.resume_reading()

    def shutdown(self) -> None:
        """Close, since this replica is about to end."""
        self.relay.close(SHUTTING_DOWN, "this replica is shutting down: connect again")


class AgentSide(_Side):
    """The agent's transport."""

    @property
    def other(self) -> _Side:
        """The client's."""
        return self.relay.client

    def data_received(self, data: bytes) -> None:
        """Pass it on."""
        self.relay.from_agent(data)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the relay."""
        super().connection_lost(exc)
        self.relay.agent_gone()

    def hang_up(self) -> None:
        """Close, once what waits is sent; in CLOSE_SECONDS at most."""
        if self._transport is not None:
            self._transport.close()
            asyncio.get_running_loop().call_later(CLOSE_SECONDS, self.abort)
