"""Playwright on the agent's DevTools door, with steps in between."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from playwright.async_api import Browser, Playwright, async_playwright

from driftstack_common.protocol_devtools import devtools_path
from tests.integration.agent.pod import SESSION, Driver
from tests.integration.agent.site import Site
from tests.integration.agent.steps import navigate, page_title


@pytest.fixture
async def playwright() -> AsyncIterator[Playwright]:
    async with async_playwright() as playwright:
        yield playwright


async def connect(playwright: Playwright, driver: Driver) -> Browser:
    url = f"ws://{driver.pod.address}{devtools_path(SESSION)}"
    headers = {"Authorization": f"Bearer {driver.pod.token}"}
    return await playwright.chromium.connect_over_cdp(url, headers=headers, timeout=10_000)


async def test_playwright_drives_the_sessions_page(session: Driver, site: Site, playwright: Playwright) -> None:
    browser = await connect(playwright, session)
    page = browser.contexts[0].pages[0]
    await page.goto(f"{site.base}/hello")
    assert await page.title() == "Hello"
    assert len(await page.screenshot()) > 0
    assert await page_title(session) == "Hello"
    await navigate(session, f"{site.base}/red")
    assert page.url == f"{site.base}/red"
    await browser.close()
    await navigate(session, f"{site.base}/hello")
    assert await page_title(session) == "Hello"
