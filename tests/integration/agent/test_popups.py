"""Pages that open windows without end."""

from __future__ import annotations

import pytest

from driftstack_agent.pages import POPUPS
from driftstack_common.kinds.archetype import Device, Viewport
from driftstack_common.protocol import NOTICE_LIMIT
from driftstack_common.protocol_steps import Tap
from tests.integration.agent.pod import Driver
from tests.integration.agent.site import Site
from tests.integration.agent.steps import capture, interact, navigate, open_page, text


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


async def test_a_window_shows_the_device_from_its_first_script(driver: Driver, site: Site) -> None:
    phone = Device(
        viewport=Viewport(width=360, height=640),
        pixel_ratio=2,
        touch=True,
        mobile=True,
        user_agent="Phone/1",
        locale="de-DE",
        timezone="Europe/Berlin",
    )
    await driver.claim(device=phone)
    for selector in ("#popup", "#window"):  # with an opener, and without
        await open_page(driver, site, "/asks")
        await interact(driver, Tap(selector=selector))
        seen = await text(driver)
        assert seen.startswith("de-DE Europe/Berlin Phone/1"), seen
        assert seen.endswith(" 2"), seen
    # It reaches a page that is loaded in it, too.
    await navigate(driver, f"{site.base}/window")
    assert (await text(driver)).startswith("de-DE Europe/Berlin Phone/1")
