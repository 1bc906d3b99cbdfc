"""How DevTools clients end, and what is put right after them; Chromium and the WebSockets are played."""

from __future__ import annotations

import asyncio
import json
from types import SimpleNamespace
from typing import Any, cast

import pytest

from driftstack_agent.browser import Browser
from driftstack_agent.cdp import Connection
from driftstack_agent.devtools import DevTools
from driftstack_agent.errors import SocketClosed, StepError
from driftstack_agent.pages import Pages
from driftstack_agent.relay import Relay
from driftstack_agent.websocket import WebSocket
from driftstack_common.protocol import EndReason, Termination
from driftstack_common.protocol_devtools import DEVTOOLS_CLIENTS, DEVTOOLS_MESSAGE_LIMIT, CloseCode


class Played:
    """A Chromium that gives everybody a session and answers everything with nothing."""

    def __init__(self) -> None:
        self.connection = Connection(self)
        self.sent: list[dict[str, Any]] = []
        self.restored = 0
        self.active = 0
        self.ended: asyncio.Future[Termination] = asyncio.get_running_loop().create_future()
        browser = SimpleNamespace(connection=self.connection, taken=self.taken)
        pages = SimpleNamespace(restore=self.restore, give_way=lambda target, method: None)
        self.devtools = DevTools(cast("Browser", browser), cast("Pages", pages), self.ended, self.touch)

    def write(self, data: bytes) -> None:
        command = json.loads(data[:-1])
        self.sent.append(command)
        result = {"sessionId": f"s{command['id']}"} if command["method"] == "Target.attachToBrowserTarget" else {}
        answer = {"id": command["id"], "result": result, "sessionId": command.get("sessionId", "")}
        asyncio.get_running_loop().call_soon(self.connection.feed, json.dumps(answer).encode() + b"\0")

    def close(self) -> None:
        """Nothing to close."""

    async def taken(self) -> None:
        """All is taken at once."""

    async def restore(self) -> None:
        self.restored += 1

    def touch(self) -> None:
        self.active += 1


class PlayedSocket:
    """A client that reads nothing of what is sent; `says` is what it sends."""

    def __init__(self) -> None:
        self.says: asyncio.Queue[bytes | SocketClosed] = asyncio.Queue()
        self.heard: list[bytes] = []
        self.hears = asyncio.Event()
        self.backlog = 0
        self.code: CloseCode | None = None
        self.reason = ""

    def send(self, text: bytes) -> None:
        self.heard.append(text)
        self.hears.set()

    async def receive(self) -> bytes:
        said = await self.says.get()
        if isinstance(said, SocketClosed):
            raise said
        return said

    async def close(self, code: CloseCode, reason: str) -> None:
        self.code, self.reason = code, reason


COMMAND = b'{"id":1,"method":"Browser.getVersion"}'


@pytest.fixture
async def played() -> Played:
    return Played()


async def connect(played: Played) -> tuple[PlayedSocket, asyncio.Task[None]]:
    """Connect a client, and wait for the answer to its first command."""
    socket = PlayedSocket()
    serving = asyncio.create_task(played.devtools.serve(cast("WebSocket", socket)))
    socket.says.put_nowait(COMMAND)
    await asyncio.wait_for(socket.hears.wait(), 5)
    return socket, serving


async def test_a_client_that_leaves_is_detached_and_the_pages_put_right(played: Played) -> None:
    socket, serving = await connect(played)
    assert (json.loads(socket.heard[0]), played.active, played.restored) == ({"id": 1, "result": {}}, 1, 0)
    socket.says.put_nowait(SocketClosed(CloseCode.TOO_LARGE, "too large"))
    await asyncio.wait_for(serving, 5)
    assert (socket.code, socket.reason) == (CloseCode.TOO_LARGE, "too large")
    assert (played.sent[-1]["method"], played.sent[-1]["params"]) == (
        "Target.detachFromTarget",
        {"sessionId": "s1"},
    )
    assert played.restored == 1


async def test_the_one_who_reads_least_is_closed(played: Played) -> None:
    (reads, serving), (deaf, gone) = await connect(played), await connect(played)
    reads.backlog, deaf.backlog = DEVTOOLS_MESSAGE_LIMIT // 4, DEVTOOLS_MESSAGE_LIMIT
    reads.says.put_nowait(COMMAND)
    await asyncio.wait_for(gone, 5)
    assert (deaf.code, reads.code) == (CloseCode.TOO_SLOW, None)
    assert len(reads.heard) == 2
    serving.cancel()


@pytest.mark.parametrize(
    ("reason", "code"),
    [
        (EndReason.IDLE, CloseCode.ENDED),
        (EndReason.TERMINATED, CloseCode.ENDED),
        (EndReason.OUT_OF_MEMORY, CloseCode.BROWSER_FAILED),
    ],
)
async def test_the_end_of_the_agent_is_told(played: Played, reason: EndReason, code: CloseCode) -> None:
    socket, serving = await connect(played)
    played.ended.set_result(Termination(reason=reason))
    await asyncio.wait_for(serving, 5)
    assert (socket.code, socket.reason) == (code, reason.value)
    assert played.restored == 0, "there is nothing to put right any more"


async def test_a_bug_of_ours_is_told(played: Played, monkeypatch: pytest.MonkeyPatch) -> None:
    socket, serving = await connect(played)
    monkeypatch.setattr(Relay, "_forward", lambda *_: {}["bug"])
    socket.says.put_nowait(COMMAND)
    await asyncio.wait_for(serving, 5)
    assert (socket.code, socket.reason) == (CloseCode.BROWSER_FAILED, "the agent failed; its log says how")
    assert played.restored == 1


async def test_there_is_no_room_for_a_seventeenth(played: Played) -> None:
    clients = [await connect(played) for _ in range(DEVTOOLS_CLIENTS)]
    with pytest.raises(StepError, match="at most 16"):
        played.devtools.refuse_if_full()
    clients[0][0].says.put_nowait(SocketClosed(CloseCode.NORMAL))
    await asyncio.wait_for(clients[0][1], 5)
    played.devtools.refuse_if_full()
    for _, serving in clients:
        serving.cancel()
