from __future__ import annotations

from typing import Any

import pytest

from driftstack_agent.device import commands
from driftstack_common.kinds.archetype import Device, Viewport

CHROMIUM = (
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) HeadlessChrome/156.0.8078.79 "
    "Safari/537.36"
)
PIXEL = (
    "Mozilla/5.0 (Linux; Android 15; Pixel 9) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/156.0.0.0 Mobile "
    "Safari/537.36"
)
IPHONE = (
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.0 "
    "Mobile/15E148 Safari/604.1"
)


def shown(device: Device) -> dict[str, dict[str, Any]]:
    return {method.removeprefix("Emulation."): params for method, params in commands(device, CHROMIUM)}


def test_a_desktop_says_so_everywhere() -> None:
    said = shown(Device(viewport=Viewport(width=1280, height=800), locale="de-DE", timezone="Europe/Berlin"))
    metrics = said["setDeviceMetricsOverride"]
    assert (metrics["width"], metrics["height"], metrics["deviceScaleFactor"]) == (1280, 800, 1.0)
    assert (metrics["mobile"], metrics["screenOrientation"]) == (False, {"type": "landscapePrimary", "angle": 0})
    assert said["setTouchEmulationEnabled"]["enabled"] is False
    assert said["setLocaleOverride"] == {"locale": "de-DE"}
    assert said["setTimezoneOverride"] == {"timezoneId": "Europe/Berlin"}
    agent = said["setUserAgentOverride"]
    assert agent["userAgent"] == CHROMIUM.replace("Headless", "")
    assert (agent["acceptLanguage"], agent["platform"]) == ("de-DE,de", "Linux x86_64")
    hints = agent["userAgentMetadata"]
    assert {"brand": "Chromium", "version": "156"} in hints["brands"]
    assert {"brand": "Chromium", "version": "156.0.8078.79"} in hints["fullVersionList"]
    assert (hints["platform"], hints["mobile"], hints["model"]) == ("Linux", False, "")


def test_an_android_phone_has_matching_hints() -> None:
    phone = Device(viewport=Viewport(width=412, height=915), touch=True, mobile=True, user_agent=PIXEL)
    said = shown(phone)
    assert said["setDeviceMetricsOverride"]["screenOrientation"] == {"type": "portraitPrimary", "angle": 0}
    assert said["setTouchEmulationEnabled"] == {"enabled": True, "maxTouchPoints": 5}
    hints = said["setUserAgentOverride"]["userAgentMetadata"]
    assert (hints["platform"], hints["platformVersion"], hints["model"]) == ("Android", "15", "Pixel 9")
    assert hints["mobile"] is True


def test_another_browser_sends_no_hints() -> None:
    agent = shown(Device(viewport=Viewport(width=390, height=844), user_agent=IPHONE))["setUserAgentOverride"]
    assert "userAgentMetadata" not in agent
    assert agent["platform"] == "iPhone"


@pytest.mark.parametrize(("scheme", "value"), [("dark", "dark"), ("light", "light"), ("no-preference", "")])
def test_the_colour_scheme(scheme: Any, value: str) -> None:
    said = shown(Device(viewport=Viewport(width=800, height=600), color_scheme=scheme))
    assert said["setEmulatedMedia"] == {"features": [{"name": "prefers-color-scheme", "value": value}]}


def test_a_phone_on_its_side() -> None:
    said = shown(Device(viewport=Viewport(width=844, height=390), mobile=True))
    assert said["setDeviceMetricsOverride"]["screenOrientation"] == {"type": "landscapePrimary", "angle": 90}


def test_a_language_is_named_once() -> None:
    assert (
        shown(Device(viewport=Viewport(width=8, height=6), locale="de"))["setUserAgentOverride"]["acceptLanguage"]
        == "de"
    )
