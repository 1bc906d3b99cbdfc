"""Steps as the tests take them: in the shared session, with the shared client."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from driftstack_common.agent_client import AgentProblem, Captured
from driftstack_common.protocol import Capture, CaptureKind, Navigate, Navigated, WaitUntil
from driftstack_common.protocol_steps import (
    Elapsed,
    Extract,
    Extraction,
    Interact,
    Interacted,
    PageState,
    Press,
    Scroll,
    SelectorHidden,
    SelectorShown,
    State,
    Tap,
    Type,
    UrlMatches,
    Wait,
    Waited,
)
from tests.integration.agent.pod import SESSION, Driver
from tests.integration.agent.site import Site


async def navigate(driver: Driver, url: str, wait_until: WaitUntil = "load", timeout_ms: int = 30_000) -> Navigated:
    """Run the navigate step."""
    step = Navigate(url=url, wait_until=wait_until, timeout_ms=timeout_ms)
    return await driver.client.navigate(driver.pod.address, driver.pod.token, SESSION, step)


async def navigate_fails(driver: Driver, url: str, timeout_ms: int = 30_000) -> AgentProblem:
    """Run the navigate step and return the problem it must end in."""
    with pytest.raises(AgentProblem) as caught:
        await navigate(driver, url, timeout_ms=timeout_ms)
    return caught.value


async def capture(
    driver: Driver, kind: CaptureKind, *, full_page: bool = False, timeout_ms: int = 30_000
) -> Captured:
    """Run the capture step."""
    step = Capture(kind=kind, full_page=full_page, timeout_ms=timeout_ms)
    return await driver.client.capture(driver.pod.address, driver.pod.token, SESSION, step)


async def capture_fails(driver: Driver, kind: CaptureKind, timeout_ms: int = 30_000) -> AgentProblem:
    """Run the capture step and return the problem it must end in."""
    with pytest.raises(AgentProblem) as caught:
        await capture(driver, kind, timeout_ms=timeout_ms)
    return caught.value


async def page_title(driver: Driver) -> str:
    """Return the page's title, read from a DOM snapshot."""
    snapshot: dict[str, Any] = json.loads((await capture(driver, "dom_snapshot")).data)
    title: str = snapshot["strings"][snapshot["documents"][0]["title"]]
    return title


async def open_page(driver: Driver, site: Site, path: str) -> None:
    """Load a page of the site, anew."""
    await navigate(driver, "about:blank")
    await navigate(driver, site.base + path)


async def leave(driver: Driver, site: Site) -> None:
    """Go on to /hello from a page that may reload meanwhile; fails when that takes longer than 10 s.

    A reload under way when the next document commits still wins in Chromium, as it does under a person's hands:
    more than one try may be needed.
    """
    async with asyncio.timeout(10):
        while True:
            await navigate(driver, f"{site.base}/hello", timeout_ms=8000)
            if await text(driver, "h1") == "Hello":
                return


async def interact(driver: Driver, action: Tap | Type | Scroll | Press, timeout_ms: int = 10_000) -> Interacted:
    """Run the interact step."""
    step = Interact(action=action, timeout_ms=timeout_ms)
    return await driver.client.interact(driver.pod.address, driver.pod.token, SESSION, step)


async def interact_fails(
    driver: Driver, action: Tap | Type | Scroll | Press, timeout_ms: int = 10_000
) -> AgentProblem:
    """Run the interact step and return the problem it must end in."""
    with pytest.raises(AgentProblem) as caught:
        await interact(driver, action, timeout_ms)
    return caught.value


async def wait(
    driver: Driver, condition: SelectorShown | SelectorHidden | UrlMatches | Elapsed, timeout_ms: int = 5_000
) -> Waited:
    """Run the wait step."""
    step = Wait(condition=condition, timeout_ms=timeout_ms)
    return await driver.client.wait(driver.pod.address, driver.pod.token, SESSION, step)


async def extract(driver: Driver, *extractions: Extraction, timeout_ms: int = 10_000) -> dict[str, Any]:
    """Run the extract step."""
    step = Extract(extractions=list(extractions), timeout_ms=timeout_ms)
    return (await driver.client.extract(driver.pod.address, driver.pod.token, SESSION, step)).value


async def state(driver: Driver) -> PageState:
    """Run the state step."""
    return await driver.client.state(driver.pod.address, driver.pod.token, SESSION, State(timeout_ms=10_000))


async def text(driver: Driver, selector: str = "#log") -> str:
    """Return the text of an element."""
    found = await extract(driver, Extraction(name="text", selector=selector, type="text"))
    return str(found["text"])
