"""PSS of the facade: empty, with 20,000 deliveries, with 1,000 sessions and 10,000 records over 10,000 steps.

Needs no cluster. 50 accounts, one of them with nine tenths of everything. Bounds: 120 MiB, and no growth from the
2,000th step on. Every twentieth step takes 60 ms, so that it is marked in the session's status; every tenth is a
capture of 300 KiB; a session is made and ended every hundred steps. STEPS sets how many (default 10,000).
"""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
from local_facade import LocalFacade, open_facade
from pss import pss

BOUND_MIB = 120
AT_ONCE = 16
STEPS = int(os.environ.get("STEPS", "10000"))

QUICK = ("wait", {"condition": {"kind": "time", "ms": 0}})
LASTING = ("wait", {"condition": {"kind": "time", "ms": 60}})
NAVIGATE = ("navigate", {"url": "http://a.test/"})
CAPTURE = ("capture", {"kind": "screenshot"})


class Driver:
    """A client that takes steps in many sessions, a few at a time."""

    def __init__(self, facade: LocalFacade, http: aiohttp.ClientSession) -> None:
        self._facade = facade
        self._http = http
        self._url = f"http://127.0.0.1:{facade.port}/v1/sessions"
        self._sessions = itertools.cycle(facade.sessions)
        self._numbers = itertools.count()

    async def take(self, steps: int) -> None:
        """Take so many steps."""
        last = next(self._numbers) + steps - 1

        async def worker() -> None:
            while (number := next(self._numbers)) <= last:
                await self._step(number)

        await asyncio.gather(*(worker() for _ in range(AT_ONCE)))

    async def _step(self, number: int) -> None:
        if number % 100 == 0:
            made = await self._call("POST", self._url, {})
            await self._call("DELETE", f"{self._url}/{made['id']}")
        name, body = LASTING if number % 20 == 0 else CAPTURE if number % 10 == 5 else (NAVIGATE, QUICK)[number % 2]
        await self._call("POST", f"{self._url}/{next(self._sessions)}/{name}", body)
        if number % 50 == 0:
            await self._call("GET", f"{self._url}?limit=100")

    async def _call(self, method: str, url: str, body: Any = None) -> Any:
        headers = {"Authorization": f"Bearer {self._facade.key}"}
        while True:
            async with self._http.request(method, url, json=body, headers=headers) as answer:
                if answer.status != 503:  # the surroundings may be late on a busy machine
                    assert answer.status < 400, await answer.text()
                    return await answer.json() if answer.status != 204 else None
            await asyncio.sleep(1)


def show(title: str, facade: LocalFacade) -> None:
    """Print its memory now."""
    print(f"{title:<44} {pss(facade.process.pid):6.1f} MiB PSS (bound {BOUND_MIB})", flush=True)


async def drive(facade: LocalFacade) -> AsyncIterator[int]:
    """Take all steps; yield after each fifth of them how many there were."""
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=60)) as http:
        driver = Driver(facade, http)
        for turn in range(1, 6):
            await driver.take(STEPS // 5)
            yield turn * STEPS // 5


async def measure(facade: LocalFacade) -> None:
    """Print what the steps leave."""
    show("1,000 sessions and 10,000 records", facade)
    async for steps in drive(facade):
        show(f"after {steps} steps", facade)


def main() -> None:
    """Start one facade that has nothing to keep, and one that has."""
    with open_facade() as facade:
        show("after the start", facade)
    with open_facade(accounts=50, deliveries=20_000) as facade:
        show("20,000 webhook deliveries", facade)
    with open_facade(accounts=50, keys=50, sessions=1000, records=10_000) as facade:
        asyncio.run(measure(facade))


if __name__ == "__main__":
    main()
