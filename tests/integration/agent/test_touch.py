"""The interact step on a touch device."""

from __future__ import annotations

import json

import pytest

from driftstack_common.kinds.archetype import Device, Viewport
from driftstack_common.protocol_steps import Scroll, Tap, Type
from tests.integration.agent.pod import Driver
from tests.integration.agent.site import Site
from tests.integration.agent.steps import interact, open_page, state, text

PHONE = Device(viewport=Viewport(width=393, height=700), pixel_ratio=3, touch=True, mobile=True)


@pytest.fixture
async def phone(driver: Driver) -> Driver:
    await driver.claim(device=PHONE)
    return driver


async def test_on_a_touch_device_a_tap_is_a_touch(phone: Driver, site: Site) -> None:
    await open_page(phone, site, "/button")
    await interact(phone, Tap(selector="#b"))
    seen = (await text(phone)).splitlines()
    assert "pointerdown true touch b" in seen
    assert seen[-1] == "click true touch b"
    await open_page(phone, site, "/field")
    await interact(phone, Type(selector="#f", text="x"))
    assert await text(phone, "#f") == "abcx"
    await open_page(phone, site, "/below")
    await interact(phone, Tap(selector="#inner"))
    assert "click true touch inner" in await text(phone)
    await open_page(phone, site, "/scrolls")
    await interact(phone, Scroll(delta_y=1000))
    assert 970 <= json.loads((await state(phone)).title)[0] <= 1030
