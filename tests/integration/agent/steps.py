"""Steps as the tests take them: in the shared session, with the shared client."""

from __future__ import annotations

import json
from typing import Any

import pytest

from driftstack_common.agent_client import AgentProblem, Captured
from driftstack_common.protocol import Capture, CaptureKind, Navigate, Navigated, WaitUntil
from tests.integration.agent.pod import SESSION, Driver


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
