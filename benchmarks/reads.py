"""Requests per second of the facade's reads against an empty FastAPI app, in turns, in one run. Needs no cluster.

The empty app is `empty_app.py`: `@app.get("/") async def nothing(): return {}`, under uvicorn with uvloop and
httptools as the facade is, one process each, over 1 and over 16 connections. The server's CPU time per request says
the same on a machine that does other things beside.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import uvloop
from figures import Bound, Series, milliseconds
from harness import Row, Run, alone
from local_facade import LocalFacade, free_port, open_facade, wait_until_ok
from local_facade import run as started

ROUND_SECONDS = 0.3
CONNECTIONS = (1, 16)


class Connection(asyncio.Protocol):
    """One keep-alive connection that sends a request as soon as it has the answer to the last one."""

    def __init__(self, request: bytes, deadline: float) -> None:
        self.seconds: list[float] = []
        self.closed = asyncio.get_running_loop().create_future()
        self._request = request
        self._deadline = deadline
        self._received = b""
        self._sent = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the first request."""
        self._transport = cast("asyncio.Transport", transport)
        self._send()

    def data_received(self, data: bytes) -> None:
        """Take an answer; send the next request until the time is over."""
        self._received += data
        if len(self._received) < _length(self._received):
            return
        assert self._received.startswith(b"HTTP/1.1 200 "), self._received
        now = time.perf_counter()
        self.seconds.append(now - self._sent)
        self._received = b""
        if now < self._deadline:
            self._send()
        else:
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell how it ended."""
        self.closed.set_result(None)

    def _send(self) -> None:
        self._sent = time.perf_counter()
        self._transport.write(self._request)


def _length(received: bytes) -> float:
    """Return how long the whole answer is; infinite until its head is here."""
    end = received.find(b"\r\n\r\n")
    if end < 0:
        return float("inf")
    head = received[:end].lower()
    return end + 4 + int(head.split(b"content-length:", 1)[1].split(b"\r\n", 1)[0])


@dataclass(frozen=True)
class Server:
    """A process that listens."""

    port: int
    pid: int

    def cpu_seconds(self) -> float:
        """Return how long its main thread has run."""
        return int(Path(f"/proc/{self.pid}/schedstat").read_text().split()[0]) / 1e9


@dataclass
class Target:
    """One request to one server, and what was measured of it."""

    name: str
    title: str
    server: Server
    path: str
    key: str = ""
    rates: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)

    async def drive(self, connections: int, duration: float) -> None:
        """Send requests over so many connections for so many seconds."""
        head = f"GET {self.path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: application/json\r\n"
        request = (head + (f"Authorization: Bearer {self.key}\r\n" if self.key else "") + "\r\n").encode()
        started, cpu = time.perf_counter(), self.server.cpu_seconds()
        loop = asyncio.get_running_loop()
        pool = [Connection(request, started + duration) for _ in range(connections)]
        for connection in pool:
            await loop.create_connection(lambda made=connection: made, "127.0.0.1", self.server.port)
        await asyncio.gather(*(connection.closed for connection in pool))
        taken = [seconds for connection in pool for seconds in connection.seconds]
        self.rates.append(len(taken) / (time.perf_counter() - started))
        self.seconds += taken
        self.cpu.append((self.server.cpu_seconds() - cpu) / len(taken))

    def series(self, connections: int) -> list[Series]:
        """Return rates and CPU time by round, and the latency of every request."""
        key, title = f"reads.{connections}.{self.name}", f"{self.title}, {connections} at once"
        return [
            Series(f"{key}.rate", title, "requests/s", self.rates),
            milliseconds(f"{key}.latency", title, self.seconds),
            Series(f"{key}.cpu", f"{title}, CPU", "µs", [seconds * 1e6 for seconds in self.cpu]),
        ]


def targets(facade: LocalFacade, empty: Server) -> list[Target]:
    """Return what is measured; the first is what all are compared with."""
    real = Server(facade.port, facade.process.pid)
    session = f"/v1/sessions/{facade.sessions[len(facade.sessions) // 2]}"
    return [
        Target("empty", "empty FastAPI app", empty, "/"),
        Target("session", "GET of a session", real, session, facade.key),
        Target("whoami", "GET of whoami (a key, no session)", real, "/v1/whoami", facade.key),
        Target("healthz", "GET of healthz (no key)", real, "/healthz"),
        Target("list", "list, page of 50", real, "/v1/sessions?limit=50", facade.key),
    ]


async def compare(measured: list[Target], connections: int, run: Run) -> list[Series]:
    """Drive all targets in turns; the first round only warms them up."""
    for number in run.rounds(run.size + 1):
        for target in measured:
            await target.drive(connections, ROUND_SECONDS)
            if number == 0:
                for series in (target.rates, target.seconds, target.cpu):
                    series.clear()
    return [series for target in measured for series in target.series(connections)]


async def pages(facade: LocalFacade) -> list[Series]:
    """Walk through all records by pages of 50, and measure the first, the middle and the last page."""
    paths: list[str] = []
    cursor: str | None = ""
    while cursor is not None:
        paths.append("/v1/sessions?limit=50" + (f"&cursor={cursor}" if cursor else ""))
        cursor = await _next(facade, paths[-1])
    found = []
    for name, path in (("first", paths[0]), ("middle", paths[len(paths) // 2]), ("last", paths[-1])):
        page = Target(name, name, Server(facade.port, facade.process.pid), path, facade.key)
        await page.drive(1, ROUND_SECONDS)
        title = f"{name} of {len(paths)} pages of 50"
        found.append(milliseconds(f"reads.page.{name}", title, page.seconds))
    return found


async def _next(facade: LocalFacade, path: str) -> str | None:
    reader, writer = await asyncio.open_connection("127.0.0.1", facade.port)
    head = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nAuthorization: Bearer {facade.key}"
    writer.write(f"{head}\r\n\r\n".encode())
    answer = await reader.read()
    writer.close()
    page = json.loads(answer.split(b"\r\n\r\n", 1)[1])
    following: str | None = page["next_cursor"]
    return following


async def measure_async(run: Run, facade: LocalFacade, empty: Server) -> list[Series]:
    """Drive everything."""
    ready = Series("reads.start", "facade's start, 1,000 sessions, 10,000 records", "s", [facade.ready_seconds])
    driven = [await compare(targets(facade, empty), connections, run) for connections in CONNECTIONS]
    return [ready, *(series for each in driven for series in each), *(await pages(facade))]


def measure(run: Run) -> Sequence[Series]:
    """Start both servers and drive them."""
    port = free_port()
    command = ("uvicorn", "empty_app:app", f"--port={port}", "--loop=uvloop", "--http=httptools", "--no-access-log")
    with (
        started(*command, "--log-level=warning") as empty,
        open_facade(sessions=1000, records=10_000) as facade,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        wait_until_ok(f"http://127.0.0.1:{port}/")
        return runner.run(measure_async(run, facade, Server(port, empty.pid)))


ROW = Row(
    "reads",
    "Reads of the facade, beside an empty FastAPI app (no cluster)",
    measure,
    bounds=(
        *(
            Bound(f"reads.{count}.session.rate", 0.5, against=f"reads.{count}.empty.rate", least=True)
            for count in CONNECTIONS
        ),
        *(Bound(f"reads.page.{page}", 10) for page in ("first", "middle", "last")),
    ),
    rounds=15,
    quick=3,
    cluster=False,
)

if __name__ == "__main__":
    alone(ROW)
