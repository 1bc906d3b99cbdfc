"""Requests per second of the facade's reads against an empty FastAPI app, in turns, in one run. Needs no cluster.

The empty app is `empty_app.py`: `@app.get("/") async def nothing(): return {}`, under uvicorn with uvloop and
httptools as the facade is, one process each. Bound: GET of a session reaches half of the empty app's requests per
second, over 1 and over 16 connections; a page of 10,000 records takes less than 10 ms. ROUNDS sets how often
(default 15). The server's CPU time per request says the same on a machine that does other things beside.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import uvloop
from installation import rounds
from local_facade import LocalFacade, free_port, open_facade, run, wait_until_ok

ROUND_SECONDS = 0.3
BOUND = 0.5
PAGE_BOUND_MS = 10


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

    @property
    def rate(self) -> float:
        """Median of the rounds, requests per second."""
        return statistics.median(self.rates)

    @property
    def cpu_time(self) -> float:
        """Median of the rounds, seconds of the server's CPU per request."""
        return statistics.median(self.cpu)

    def show(self, against: Target) -> None:
        """Print rate, latency and the ratio to another target's rate."""
        cuts = statistics.quantiles(self.seconds, n=20)
        print(
            f"  {self.title:<34} {self.rate:7.0f}/s   p50 {cuts[9] * 1000:6.2f} ms   p95 {cuts[18] * 1000:6.2f} ms"
            f"   CPU {self.cpu_time * 1e6:5.0f} µs   ratio {self.rate / against.rate:.2f}"
            f" (by CPU {against.cpu_time / self.cpu_time:.2f})"
        )


def targets(facade: LocalFacade, empty: Server) -> list[Target]:
    """Return what is measured; the first is what all are compared with."""
    real = Server(facade.port, facade.process.pid)
    session = f"/v1/sessions/{facade.sessions[len(facade.sessions) // 2]}"
    return [
        Target("empty FastAPI app", empty, "/"),
        Target("GET /v1/sessions/{id}", real, session, facade.key),
        Target("GET /v1/whoami (a key, no session)", real, "/v1/whoami", facade.key),
        Target("GET /healthz (no key)", real, "/healthz"),
        Target("GET /v1/sessions?limit=50", real, "/v1/sessions?limit=50", facade.key),
    ]


async def compare(measured: list[Target], connections: int) -> None:
    """Drive all targets in turns and print what came of it."""
    for number in range(-1, rounds(15)):
        for target in measured:
            await target.drive(connections, ROUND_SECONDS)
        if number < 0:
            for target in measured:
                for series in (target.rates, target.seconds, target.cpu):
                    series.clear()
    print(f"{connections} connection{'s' if connections > 1 else ''}:")
    for target in measured:
        target.show(measured[0])
    session = measured[1]
    print(f"  GET of a session: {session.rate / measured[0].rate:.2f} of the empty app (bound {BOUND})")
    if connections == 1:
        _, _, whoami, healthz, _ = measured
        cost = statistics.median(whoami.seconds) - statistics.median(healthz.seconds)
        print(f"  authentication and scope: {cost * 1000:.2f} ms of a request (bound 0.5 ms; whoami less healthz)")


async def pages(facade: LocalFacade) -> None:
    """Walk through all records by pages of 50, and measure the first, the middle and the last page."""
    paths, cursor = [], ""
    while cursor is not None:
        paths.append("/v1/sessions?limit=50" + (f"&cursor={cursor}" if cursor else ""))
        cursor = await _next(facade, paths[-1])
    print(f"{len(paths)} pages of 50 in one account:")
    for title, path in (("first", paths[0]), ("middle", paths[len(paths) // 2]), ("last", paths[-1])):
        page = Target(title, Server(facade.port, facade.process.pid), path, facade.key)
        await page.drive(1, ROUND_SECONDS)
        cuts = statistics.quantiles(page.seconds, n=20)
        print(
            f"  {title:<7} p50 {cuts[9] * 1000:5.2f} ms   p95 {cuts[18] * 1000:5.2f} ms (bound {PAGE_BOUND_MS} ms)"
        )


async def _next(facade: LocalFacade, path: str) -> str | None:
    reader, writer = await asyncio.open_connection("127.0.0.1", facade.port)
    head = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nAuthorization: Bearer {facade.key}"
    writer.write(f"{head}\r\n\r\n".encode())
    answer = await reader.read()
    writer.close()
    page = json.loads(answer.split(b"\r\n\r\n", 1)[1])
    following: str | None = page["next_cursor"]
    return following


async def measure(facade: LocalFacade, empty: Server) -> None:
    """Print everything."""
    print(f"ready after {facade.ready_seconds:.2f} s, with 1,000 live sessions and 10,000 records in one account")
    for connections in (1, 16):
        await compare(targets(facade, empty), connections)
    await pages(facade)


def main() -> None:
    """Start both servers and drive them."""
    port = free_port()
    command = ("uvicorn", "empty_app:app", f"--port={port}", "--loop=uvloop", "--http=httptools", "--no-access-log")
    with run(*command, "--log-level=warning") as empty, open_facade(sessions=1000, records=10_000) as facade:
        wait_until_ok(f"http://127.0.0.1:{port}/")
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(measure(facade, Server(port, empty.pid)))


if __name__ == "__main__":
    main()
