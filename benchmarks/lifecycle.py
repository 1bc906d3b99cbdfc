"""A whole job, page and screenshot, by Playwright: as a session, and as a user could have it without Driftstack.

In turns: a session from a warm pool (create, connect over CDP, goto, screenshot, delete); browserless (connect,
goto, screenshot, close, which ends its browser); a Chromium that Playwright launches per job; a new context in one
that runs. The last two have no isolation between jobs but Chromium's own, and no network to cross.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass

import uvloop
from figures import Bound, Series, milliseconds
from harness import Row, Run, alone
from peers import CHROMIUM, browserless, site
from playwright.async_api import Browser, BrowserType, Page, async_playwright
from sessions import Client, open_client, warm_pods

POOL = 4
WARM_UP = 1

TITLES = {
    "life.session": "session: create to delete",
    "life.session.create": "  POST to 201",
    "life.session.connect": "  ready, and connected over CDP",
    "life.session.goto": "  goto",
    "life.session.screenshot": "  screenshot",
    "life.session.delete": "  disconnect, DELETE to 204",
    "life.browserless": "browserless: connect to close",
    "life.browserless.connect": "  its browser started, and connected",
    "life.browserless.goto": "  goto",
    "life.browserless.screenshot": "  screenshot",
    "life.browserless.close": "  close",
    "life.launch": "Playwright, a launch per job",
    "life.context": "Playwright, a context per job",
}


class Parts:
    """Takes the times of a job's parts: each lasts from the one before it.

    Args:
        times: seconds by key, to add to.
        job: key of the job.
    """

    def __init__(self, times: dict[str, list[float]], job: str) -> None:
        self._times = times
        self._job = job
        self._since = time.perf_counter()

    def done(self, part: str) -> None:
        """A part is over."""
        now = time.perf_counter()
        self._times[f"{self._job}.{part}"].append(now - self._since)
        self._since = now


@dataclass
class Jobs:
    """The four ways to do the job; each method does it once."""

    client: Client
    chromium: BrowserType
    warm: Browser
    api: str
    key: str
    page: str
    local_page: str
    browserless: str
    times: dict[str, list[float]]

    async def session(self) -> None:
        """A session of its own."""
        parts = Parts(self.times, "life.session")
        session = await self.client.post()
        parts.done("create")
        url = f"{self.api}/v1/sessions/{session['id']}/cdp"
        browser = await self.chromium.connect_over_cdp(url, headers={"Authorization": self.key})
        parts.done("connect")
        await _work(browser.contexts[0].pages[0], self.page, parts)
        await browser.close()
        await self.client.delete(session["id"])
        parts.done("delete")

    async def peer(self) -> None:
        """The same with browserless."""
        parts = Parts(self.times, "life.browserless")
        browser = await self.chromium.connect_over_cdp(self.browserless)
        context = browser.contexts[0]
        page = context.pages[0] if context.pages else await context.new_page()
        parts.done("connect")
        await _work(page, self.local_page, parts)
        await browser.close()
        parts.done("close")

    async def launch(self) -> None:
        """A Chromium of its own on this machine."""
        browser = await self.chromium.launch(executable_path=CHROMIUM)
        await _work(await browser.new_page(), self.local_page)
        await browser.close()

    async def context(self) -> None:
        """A context of its own in a Chromium that runs."""
        context = await self.warm.new_context()
        await _work(await context.new_page(), self.local_page)
        await context.close()


async def _work(page: Page, url: str, parts: Parts | None = None) -> None:
    await page.goto(url)
    if parts is not None:
        parts.done("goto")
    await page.screenshot()
    if parts is not None:
        parts.done("screenshot")


async def measure_async(run: Run) -> dict[str, list[float]]:
    """Take the four in turns."""
    times: dict[str, list[float]] = defaultdict(list)
    installation = run.installation
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(open_client(installation))
        peer, local_page = stack.enter_context(browserless()), stack.enter_context(site())
        chromium = (await stack.enter_async_context(async_playwright())).chromium
        warm = await chromium.launch(executable_path=CHROMIUM)
        stack.push_async_callback(warm.close)
        await stack.enter_async_context(warm_pods(client.kube, POOL))
        jobs = Jobs(
            client,
            chromium,
            warm,
            api=str(installation.api.base_url).rstrip("/").replace("http", "ws", 1),
            key=installation.api.headers["Authorization"],
            page=installation.page,
            local_page=local_page,
            browserless=f"ws://127.0.0.1:{peer.port}/chromium",
            times=times,
        )
        ways: dict[str, Callable[[], Awaitable[None]]] = {
            "life.session": jobs.session,
            "life.browserless": jobs.peer,
            "life.launch": jobs.launch,
            "life.context": jobs.context,
        }
        for number in run.rounds(run.size + WARM_UP):
            if number == WARM_UP:
                times.clear()
            for key, job in ways.items():
                started = time.perf_counter()
                await job()
                times[key].append(time.perf_counter() - started)
    return times


def measure(run: Run) -> Sequence[Series]:
    """Return the time of a job, by way, and of the parts of two of them."""
    times = uvloop.run(measure_async(run))
    return [milliseconds(key, title, times[key]) for key, title in TITLES.items()]


ROW = Row(
    "lifecycle",
    "A whole job: page and screenshot, by Playwright",
    measure,
    bounds=(Bound("life.session", 0.5, against="life.browserless"),),
    rounds=30,
)

if __name__ == "__main__":
    alone(ROW)
