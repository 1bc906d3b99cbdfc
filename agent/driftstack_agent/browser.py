"""The running Chromium: its pipes as a CDP connection, its pages as targets, its end."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
from collections import deque
from collections.abc import Iterable
from typing import Any, Final, TypeVar

import msgspec

from driftstack_agent import chromium
from driftstack_agent.cdp import COMMAND_SECONDS, Connection, Subscription
from driftstack_agent.errors import CdpFailure

_ERROR_LINES: Final = 20
_CLOSE_SECONDS: Final = 1.0
"""Chromium exits 50 ms after its pipe is closed."""

_LAST_WORDS_SECONDS: Final = 0.5
"""Between the end of Chromium's pipes and the news of its exit pass milliseconds."""

T = TypeVar("T")


class Version(msgspec.Struct, rename="camel"):
    """Chromium's product (`HeadlessChrome/156.0.8078.79`) and own user agent."""

    product: str
    user_agent: str


class _Created(msgspec.Struct, rename="camel"):
    target_id: str


class Target:
    """A page we are attached to: the connection, narrowed to one CDP session."""

    def __init__(self, connection: Connection, target: str, session: str) -> None:
        self._connection = connection
        self.id = target
        self.session = session

    async def send(
        self, method: str, params: dict[str, Any] | None = None, timeout: float = COMMAND_SECONDS
    ) -> msgspec.Raw:
        """Send a command to the page; see Connection.send."""
        return await self._connection.send(method, params, session=self.session, timeout=timeout)

    async def call(
        self, returns: type[T], method: str, params: dict[str, Any] | None = None, timeout: float = COMMAND_SECONDS
    ) -> T:
        """Send a command to the page and decode its result."""
        return await self._connection.call(returns, method, params, session=self.session, timeout=timeout)

    def post(self, method: str, params: dict[str, Any]) -> None:
        """Send a command whose answer nobody hears; see Connection.post."""
        self._connection.post(method, params, self.session)

    def subscribe(self, methods: Iterable[str]) -> Subscription:
        """Subscribe to the page's events."""
        return self._connection.subscribe(methods, self.session)


class _CommandPipe(asyncio.Protocol):
    """Tells whether Chromium keeps up with what is written to it."""

    def __init__(self) -> None:
        self.writable = asyncio.Event()
        self.writable.set()

    def pause_writing(self) -> None:
        self.writable.clear()

    def resume_writing(self) -> None:
        self.writable.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self.writable.set()


class _EventPipe(asyncio.Protocol):
    def __init__(self, connection: Connection, disconnected: asyncio.Future[None]) -> None:
        self._connection = connection
        self._disconnected = disconnected

    def data_received(self, data: bytes) -> None:
        self._connection.feed(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._connection.closed("Chromium closed the connection")
        if not self._disconnected.done():
            self._disconnected.set_result(None)


class _ErrorPipe(asyncio.Protocol):
    def __init__(self, lines: deque[str], ended: asyncio.Event) -> None:
        self._lines = lines
        self._ended = ended

    def data_received(self, data: bytes) -> None:
        self._lines.extend(data.decode("utf-8", "replace").splitlines())

    def connection_lost(self, exc: Exception | None) -> None:
        self._ended.set()


class Browser:
    """A started Chromium; connect() attaches to its pipes.

    Attributes:
        exited: Chromium's exit code, negative for a signal's number.
        disconnected: its event pipe is closed; its exit follows, unless the two sides misunderstood each other.
    """

    def __init__(self, process: chromium.Process, exited: asyncio.Future[int]) -> None:
        self.process = process
        self.exited = exited
        self.disconnected: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.connection: Connection
        self.version = Version("", "")
        self._errors: deque[str] = deque(maxlen=_ERROR_LINES)
        self._errors_ended = asyncio.Event()
        self._transports: list[asyncio.BaseTransport] = []
        self._commands: _CommandPipe

    async def connect(self) -> None:
        """Take over the pipes; commands can be sent afterwards."""
        loop = asyncio.get_running_loop()
        writer, self._commands = await loop.connect_write_pipe(
            _CommandPipe, os.fdopen(self.process.commands, "wb", 0)
        )
        self.connection = Connection(writer)
        events, _ = await loop.connect_read_pipe(
            lambda: _EventPipe(self.connection, self.disconnected), os.fdopen(self.process.events, "rb", 0)
        )
        errors, _ = await loop.connect_read_pipe(
            lambda: _ErrorPipe(self._errors, self._errors_ended), os.fdopen(self.process.errors, "rb", 0)
        )
        self._transports = [writer, events, errors]

    async def start(self, timeout: float) -> None:
        """Ask for the version and set what holds for all pages.

        Raises:
            CdpFailure: Chromium doesn't answer, or is gone.
        """
        self.version, _ = await asyncio.gather(  # in one breath
            self.connection.call(Version, "Browser.getVersion", timeout=timeout), self.refuse_downloads()
        )

    async def refuse_downloads(self) -> None:
        """Refuse them from now on; CdpFailure as start."""
        await self.connection.send("Browser.setDownloadBehavior", {"behavior": "deny", "eventsEnabled": True})

    async def taken(self) -> None:
        """Wait until Chromium has taken most of what was written: whoever writes much does."""
        await self._commands.writable.wait()

    async def last_words(self) -> tuple[int | None, str]:
        """Return the exit code (None: it still runs) and what Chromium wrote last, of one that fails to start."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LAST_WORDS_SECONDS):
                await asyncio.shield(self.exited)
                await self._errors_ended.wait()
        return self.exited.result() if self.exited.done() else None, "\n".join(self._errors)

    async def ping(self, timeout: float) -> None:
        """Ask for the version: Chromium's main process answers.

        Raises:
            CdpFailure: it doesn't.
        """
        await self.connection.send("Browser.getVersion", timeout=timeout)

    async def open_page(self) -> str:
        """Open an empty page, in a renderer of its own; return its target id."""
        return (await self.connection.call(_Created, "Target.createTarget", {"url": "about:blank"})).target_id

    async def close_page(self, target: str) -> None:
        """Close a page that is given up; whether it can still be closed doesn't matter."""
        try:
            await self.connection.send("Target.closeTarget", {"targetId": target})
        except CdpFailure:
            return

    async def close(self) -> None:
        """Close the pipe, wait for Chromium to exit (then kill it), remove its profile."""
        self.connection.close()
        try:
            await asyncio.wait_for(asyncio.shield(self.exited), _CLOSE_SECONDS)
        except TimeoutError:
            os.killpg(self.process.pid, signal.SIGKILL)
        for transport in self._transports:
            transport.close()
        shutil.rmtree(self.process.profile, ignore_errors=True)
