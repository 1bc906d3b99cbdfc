"""DevTools clients of the agent: Playwright, and a bare one that keeps its events."""

from __future__ import annotations

import asyncio
import itertools
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
from playwright.async_api import Browser, async_playwright

from driftstack_common.protocol_devtools import DEVTOOLS_MESSAGE_LIMIT, devtools_path
from tests.integration.agent.pod import SESSION, Driver


async def open_socket(driver: Driver) -> aiohttp.ClientWebSocketResponse:
    """Open a WebSocket to the session."""
    url = f"http://{driver.pod.address}{devtools_path(SESSION)}"
    headers = {"Authorization": f"Bearer {driver.pod.token}"}
    closing = aiohttp.ClientWSTimeout(ws_close=2.0)
    return await driver.http.ws_connect(url, headers=headers, max_msg_size=DEVTOOLS_MESSAGE_LIMIT, timeout=closing)


@asynccontextmanager
async def playwright(driver: Driver) -> AsyncIterator[Browser]:
    """Connect Playwright to the session; close it in the end."""
    url = f"ws://{driver.pod.address}{devtools_path(SESSION)}"
    headers = {"Authorization": f"Bearer {driver.pod.token}"}
    async with async_playwright() as started:
        browser = await started.chromium.connect_over_cdp(url, headers=headers, timeout=10_000)
        yield browser
        await browser.close()


class Refused(Exception):
    """Chromium's or the agent's error to a command."""


class Client:
    """An open WebSocket; use as `async with Client(driver) as client`."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self._numbers = itertools.count(1)
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._arrived = asyncio.Event()
        self.events: deque[dict[str, Any]] = deque()

    async def __aenter__(self) -> Client:
        self.socket = await open_socket(self._driver)
        self._reader = asyncio.create_task(self._read())
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.socket.close()
        await self._reader

    async def _read(self) -> str:
        while (message := await self.socket.receive()).type is aiohttp.WSMsgType.TEXT:
            data = message.json()
            if "method" in data or "id" not in data:
                self.events.append(data)
                self._arrived.set()
            elif (answer := self._answers.pop(data["id"], None)) is not None and not answer.done():
                answer.set_result(data)
        return str(message.extra)

    async def send(self, method: str, session: str = "", **params: Any) -> dict[str, Any]:
        """Return the result of a command; Refused says the error."""
        number = next(self._numbers)
        answer = self._answers[number] = asyncio.get_running_loop().create_future()
        command = {"id": number, "method": method, "params": params}
        await self.socket.send_json({**command, "sessionId": session} if session else command)
        async with asyncio.timeout(10):
            message = await answer
        if "error" in message:
            raise Refused(message["error"])
        assert message.get("sessionId", "") == session
        result: dict[str, Any] = message["result"]
        return result

    async def event(self, method: str) -> dict[str, Any]:
        """Return the next event of a name, and drop what came before it."""
        async with asyncio.timeout(10):
            while True:
                while self.events:
                    if (event := self.events.popleft()).get("method", "error") == method:
                        return event
                self._arrived.clear()
                await self._arrived.wait()

    async def closed(self) -> tuple[int | None, str]:
        """Wait until the agent closes; return its code and reason."""
        async with asyncio.timeout(10):
            reason = await asyncio.shield(self._reader)
        return self.socket.close_code, reason

    async def target(self) -> str:
        """Return the id of a page of the session."""
        targets = (await self.send("Target.getTargets"))["targetInfos"]
        return next(str(info["targetId"]) for info in targets if info["type"] == "page")

    async def page(self) -> str:
        """Attach to a page of the session, and return the new DevTools session's id."""
        return str(
            (await self.send("Target.attachToTarget", targetId=await self.target(), flatten=True))["sessionId"]
        )

    async def evaluate(self, expression: str, session: str) -> Any:
        """Return the value of an expression in a page."""
        answer = await self.send("Runtime.evaluate", session, expression=expression, returnByValue=True)
        return answer["result"].get("value")
