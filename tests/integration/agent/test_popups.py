"""Pages that open windows without end."""

from __future__ import annotations

import pytest

from driftstack_agent.pages import POPUPS
from driftstack_common.protocol import NOTICE_LIMIT
from driftstack_common.protocol_steps import Tap
from tests.integration.agent.pod import Driver
from tests.integration.agent.site import Site
from tests.integration.agent.steps import capture, interact, navigate


@pytest.mark.parametrize("path", ["/hundred-popups", "/asks"])
async def test_a_hundred_windows_are_bounded(driver: Driver, site: Site, path: str) -> None:
    await driver.claim()
    done = await navigate(driver, site.base + path, timeout_ms=20_000)
    notices = done.notices
    if path == "/asks":
        notices = (await interact(driver, Tap(selector="#many"), timeout_ms=20_000)).notices
    assert len(notices) == NOTICE_LIMIT
    assert [notice.outcome for notice in notices].count("closed") >= NOTICE_LIMIT - POPUPS
    assert len(driver.pod.processes("--type=renderer")) <= POPUPS + 3
    assert (await navigate(driver, f"{site.base}/hello")).status == 200
    assert len((await capture(driver, "screenshot")).data) > 0
