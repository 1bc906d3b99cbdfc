"""Rounds of DevTools commands by WebSocket, which `devtools.py` runs here, through the facade, and in the pod.

The standard library alone. Arguments: host, port, path, bearer token, page. Each line on stdin is a round, answered
with two times in milliseconds: one `Runtime.evaluate` (mean of EVALUATES), and navigate, until loaded, with a
screenshot.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Any

EVALUATES = 20


class Client:
    """Commands to one page."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._sent = 0
        self._session = ""

    @classmethod
    async def connect(cls, host: str, port: str, path: str, token: str) -> Client:
        """Shake hands, and attach to a new page."""
        reader, writer = await asyncio.open_connection(host, int(port), limit=2**26)
        upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13"
        key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="
        head = f"GET {path} HTTP/1.1\r\nHost: {host}\r\n{upgrade}\r\n{key}\r\nAuthorization: Bearer {token}\r\n\r\n"
        writer.write(head.encode())
        answer = await reader.readuntil(b"\r\n\r\n")
        if b" 101 " not in answer:
            sys.exit(answer.decode())
        client = cls(reader, writer)
        target = (await client.send("Target.createTarget", url="about:blank"))["targetId"]
        client._session = (await client.send("Target.attachToTarget", targetId=target, flatten=True))["sessionId"]
        await client.send("Page.enable")
        return client

    async def send(self, method: str, **params: Any) -> Any:
        """Return a command's result."""
        self._sent += 1
        message = {"id": self._sent, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        self._write(1, json.dumps(message).encode())
        while (answer := await self._receive()).get("id") != self._sent:
            pass
        return answer["result"]

    async def load(self, url: str) -> None:
        """Load a page, until its load event."""
        await self.send("Page.navigate", url=url)
        while (await self._receive()).get("method") != "Page.loadEventFired":
            pass

    def _write(self, opcode: int, payload: bytes) -> None:
        # The mask is all zeros: it costs nothing on either side of the comparison.
        size = len(payload)
        length = bytes((0x80 | size,)) if size < 126 else b"\xfe" + size.to_bytes(2, "big")
        self._writer.write(bytes((0x80 | opcode,)) + length + bytes(4) + payload)

    async def _receive(self) -> Any:
        """Return the next message; pings are answered."""
        message = b""
        while True:
            first, size = await self._reader.readexactly(2)
            if size >= 126:
                size = int.from_bytes(await self._reader.readexactly(2 if size == 126 else 8), "big")
            payload = await self._reader.readexactly(size)
            if first & 0x0F == 9:
                self._write(10, payload)
            elif first & 0x0F == 8:
                sys.exit(f"closed: {payload!r}")
            elif first & 0x0F < 3:
                message += payload
                if first & 0x80:
                    return json.loads(message)


async def main() -> None:
    """Serve rounds until stdin ends."""
    *address, page = sys.argv[1:]
    client = await Client.connect(*address)
    print("ready", flush=True)
    while await asyncio.to_thread(sys.stdin.readline):
        started = time.perf_counter()
        for _ in range(EVALUATES):
            await client.send("Runtime.evaluate", expression="1 + 1")
        evaluated = time.perf_counter()
        await client.load(page)
        await client.send("Page.captureScreenshot", format="png")
        shot = time.perf_counter()
        print((evaluated - started) / EVALUATES * 1000, (shot - evaluated) * 1000, flush=True)


asyncio.run(main())
