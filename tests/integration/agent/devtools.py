"""A bare DevTools client of the agent: one reader, commands by id, events kept."""

from __future__ import annotations

import asyncio
import itertools
from collections import deque
from typing import Any

from driftstack_common.protocol_devtools import DEVTOOLS_MESSAGE_LIMIT, devtools_path
from tests.integration.agent.pod import SESSION, Driver


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
        url = f"http://{self._driver.pod.address}{devtools_path(SESSION)}"
        headers = {"Authorization": f"Bearer {self._driver.pod.token}"}
        self.socket = await self._driver.http.ws_connect(url, headers=headers, max_msg_size=DEVTOOLS_MESSAGE_LIMIT)
        self._reader = asyncio.create_task(self._read())
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.socket.close()
        await self._reader

    async def _read(self) -> None:
        async for message in self.socket:
            data = message.json()
            if "method" in data or "id" not in data:
                self.events.append(data)
                self._arrived.set()
            else:
                self._answers.pop(data["id"]).set_result(data)

    async def send(self, method: str, session: str = "", seconds: float = 10.0, **params: Any) -> dict[str, Any]:
        """Return the result of a command; Refused says the error."""
        number = next(self._numbers)
        answer = self._answers[number] = asyncio.get_running_loop().create_future()
        command = {"id": number, "method": method, "params": params}
        await self.socket.send_json({**command, "sessionId": session} if session else command)
        async with asyncio.timeout(seconds):
            message = await answer
        if "error" in message:
            raise Refused(message["error"])
        assert message.get("sessionId", "") == session
        result: dict[str, Any] = message["result"]
        return result

    async def event(self, method: str, seconds: float = 10.0) -> dict[str, Any]:
        """Return the next event of a name, and drop what came before it."""
        async with asyncio.timeout(seconds):
            while True:
                while self.events:
                    if (event := self.events.popleft()).get("method") == method:
                        return event
                self._arrived.clear()
                await self._arrived.wait()

    async def closed(self, seconds: float = 10.0) -> int | None:
        """Return the code with which the agent closes."""
        async with asyncio.timeout(seconds):
            await self._reader
        return self.socket.close_code

    async def page(self) -> str:
        """Attach to the session's page in front, and return the new session's id."""
        targets = (await self.send("Target.getTargets"))["targetInfos"]
        target = next(info["targetId"] for info in targets if info["type"] == "page")
        attached = await self.send("Target.attachToTarget", targetId=target, flatten=True)
        session: str = attached["sessionId"]
        return session

    async def evaluate(self, expression: str, session: str) -> Any:
        """Return the value of an expression in a page."""
        answer = await self.send("Runtime.evaluate", session, expression=expression, returnByValue=True)
        return answer["result"].get("value")
