"""The session's DevTools clients: raw Chromium for Playwright, Puppeteer and the like, beside the steps.

Each client has a DevTools session of its own (relay), which Chromium drops, with all the client has set, when it
leaves. Then the pages get back what the session itself wants of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import msgspec

from driftstack_agent import logs
from driftstack_agent.browser import Browser
from driftstack_agent.errors import CdpFailure, SocketClosed, StepError
from driftstack_agent.pages import Pages
from driftstack_agent.relay import Relay
from driftstack_common.protocol import EndReason, ProblemCode, Termination
from driftstack_common.protocol_devtools import DEVTOOLS_CLIENTS, DEVTOOLS_MESSAGE_LIMIT, CloseCode

if TYPE_CHECKING:  # see endpoints: only a client's coming loads it
    from driftstack_agent.websocket import WebSocket

_LOOK: Final = 1024 * 1024
"""Bytes that wait for one client before all are added up."""
_BUSY_SECONDS: Final = 0.01
"""Between the commands of a client with many unanswered. It doesn't wait for the answers: some never come."""


class _Attached(msgspec.Struct, rename="camel"):
    session_id: str


class _Client:
    """A client; over: how it ends."""

    def __init__(self, socket: WebSocket) -> None:
        self.socket = socket
        self.relay: Relay | None = None
        self.over: asyncio.Future[SocketClosed] = asyncio.get_running_loop().create_future()

    def end(self, why: SocketClosed) -> None:
        """End it, for the first reason given."""
        if not self.over.done():
            self.over.set_result(why)


class DevTools:
    """The clients of one session.

    Args:
        ended: done when the agent ends, which ends all clients.
        active: called for every command of a client.
    """

    def __init__(
        self,
        browser: Browser,
        pages: Pages,
        ended: asyncio.Future[Termination],
        active: Callable[[], None],
    ) -> None:
        self._browser = browser
        self._pages = pages
        self._active = active
        self._ended = ended
        self._clients: set[_Client] = set()
        ended.add_done_callback(self._end_all)

    def attends(self, target: str) -> bool:
        """Whether a client listens to the dialogs of a page."""
        return any(client.relay is not None and client.relay.hears_dialogs(target) for client in self._clients)

    def refuse_if_full(self) -> None:
        """Raise StepError too-many-clients when there can't be one more."""
        if len(self._clients) >= DEVTOOLS_CLIENTS:
            why = f"a session has at most {DEVTOOLS_CLIENTS} DevTools clients at a time: close one"
            raise StepError(ProblemCode.TOO_MANY_CLIENTS, why, limit=DEVTOOLS_CLIENTS)

    async def serve(self, socket: WebSocket) -> None:
        """Serve a client until one side has enough."""
        client = _Client(socket)
        self._clients.add(client)
        logs.info("devtools client connected", clients=len(self._clients))
        serving = asyncio.create_task(self._serve(client))
        try:
            if self._ended.done():
                self._end_all(self._ended)
            await asyncio.wait((serving, client.over), return_when=asyncio.FIRST_COMPLETED)
            serving.cancel()
            await asyncio.wait((serving,))
            why = client.over.result() if client.over.done() else serving.result()
            logs.info("devtools client leaves", code=int(why.code))
            await asyncio.gather(socket.close(why.code, why.reason), self._undo(client))
        finally:
            serving.cancel()
            self._clients.discard(client)

    async def _serve(self, client: _Client) -> SocketClosed:
        try:
            root, send = await self._attach(), self._sender(client)
            client.relay = relay = Relay(self._browser.connection, root, send, self._pages.give_way)
            while relay.command(await client.socket.receive()):
                self._active()
                await self._browser.taken()
                if relay.busy:
                    await asyncio.sleep(_BUSY_SECONDS)
            return SocketClosed(CloseCode.NORMAL, "Browser.close")
        except SocketClosed as closed:
            return closed
        except OSError:
            return SocketClosed(CloseCode.NORMAL, "the client has gone")
        except CdpFailure as error:
            return SocketClosed(CloseCode.BROWSER_FAILED, str(error))
        except Exception:  # a bug of ours: the client is told, the log has the traceback
            logs.error("devtools client failed", trace=True)
            return SocketClosed(CloseCode.BROWSER_FAILED, "the agent failed; its log says how")

    async def _attach(self) -> str:
        """Return a browser-level session of the client's own."""
        return (await self._browser.connection.call(_Attached, "Target.attachToBrowserTarget")).session_id

    async def _undo(self, client: _Client) -> None:
        """Have Chromium drop what the client has attached and set; pages are the session's again."""
        if client.relay is None or self._ended.done():
            return
        client.relay.close()
        try:
            await self._browser.connection.send("Target.detachFromTarget", {"sessionId": client.relay.root})
        except CdpFailure as error:
            logs.info("devtools client not detached", error=type(error).__name__)
        await self._pages.restore()

    def _sender(self, client: _Client) -> Callable[[bytes], None]:
        def send(text: bytes) -> None:
            if (
                client.socket.backlog > _LOOK
                and sum(c.socket.backlog for c in self._clients) > DEVTOOLS_MESSAGE_LIMIT
            ):
                slowest = max(self._clients, key=lambda c: c.socket.backlog)
                slowest.end(SocketClosed(CloseCode.TOO_SLOW, "the client does not read what it is sent"))
            client.socket.send(text)

        return send

    def _end_all(self, ended: asyncio.Future[Termination]) -> None:
        reason = ended.result().reason
        failed = reason in (EndReason.BROWSER_CRASHED, EndReason.OUT_OF_MEMORY)
        code = CloseCode.BROWSER_FAILED if failed else CloseCode.ENDED
        for client in self._clients:
            client.end(SocketClosed(code, reason))
