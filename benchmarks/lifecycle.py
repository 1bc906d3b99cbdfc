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

    async def session(self) -> None:
        """A session of its own."""
        session = await self.client.post()
        url = f"{self.api}/v1/sessions/{session['id']}/cdp"
        browser = await self.chromium.connect_over_cdp(url, headers={"Authorization": self.key})
        await _work(browser.contexts[0].pages[0], self.page)
        await browser.close()
        await self.client.delete(session["id"])

    async def peer(self) -> None:
        """The same with browserless."""
        browser = await self.chromium.connect_over_cdp(self.browserless)
        context = browser.contexts[0]
        await _work(context.pages[0] if context.pages else await context.new_page(), self.local_page)
        await browser.close()

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


async def _work(page: Page, url: str) -> None:
    await page.goto(url)
    await page.screenshot()


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
        )
        ways: dict[str, Callable[[], Awaitable[None]]] = {
            "life.session": jobs.session,
            "life.browserless": jobs.peer,
            "life.launch": jobs.launch,
            "life.context": jobs.context,
        }
        for number in run.rounds(run.size + WARM_UP):
            for key, job in ways.items():
                started = time.perf_counter()
                await job()
                if number >= WARM_UP:
                    times[key].append(time.perf_counter() - started)
    return times


def measure(run: Run) -> Sequence[Series]:
    """Return the time of a job, by way."""
    times = uvloop.run(measure_async(run))
    titles = {
        "life.session": "session: create to delete",
        "life.browserless": "browserless: connect to close",
        "life.launch": "Playwright, a launch per job",
        "life.context": "Playwright, a context per job",
    }
    return [milliseconds(key, title, times[key]) for key, title in titles.items()]


ROW = Row(
    "lifecycle",
    "A whole job: page and screenshot, by Playwright",
    measure,
    bounds=(Bound("life.session", 0.5, against="life.browserless"),),
    rounds=30,
)

if __name__ == "__main__":
    alone(ROW)
