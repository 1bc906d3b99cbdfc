"""Makes a page show an archetype's device: which commands Chromium needs, as plain data."""

from __future__ import annotations

import re
from typing import Any, Final

from driftstack_common.kinds.archetype import Device

Command = tuple[str, dict[str, Any]]

_TOUCH_POINTS: Final = 5
_CHROME: Final = re.compile(r"Chrome/(\d+)((?:\.\d+){3})?")
_ANDROID: Final = re.compile(r"Android (\d+(?:\.\d+)*)(?:; ([^;)]+))?")
# The order matters: an iPhone's user agent says "like Mac OS X" too, an Android's says Linux.
_PLATFORMS: Final = (
    ("iPhone", "iPhone", "iOS"),
    ("iPad", "iPad", "iOS"),
    ("Android", "Linux armv81", "Android"),
    ("Windows", "Win32", "Windows"),
    ("Macintosh", "MacIntel", "macOS"),
)

EXCLUSIVE: Final[dict[str, Command]] = {
    method: (method, {parameter: ""})
    for method, parameter in (
        ("Emulation.setLocaleOverride", "locale"),
        ("Emulation.setTimezoneOverride", "timezoneId"),
    )
}
"""The commands that Chromium takes from one DevTools session of a page only, each with what takes ours back."""


def commands(device: Device, chromium_user_agent: str) -> list[Command]:
    """Return the commands, in order, that make a page show the device.

    Args:
        chromium_user_agent: Chromium's own, e.g. `… HeadlessChrome/156.0.8078.79 Safari/537.36`; without the word
            Headless it is the user agent of a device that names none.
    """
    scheme = "" if device.color_scheme == "no-preference" else device.color_scheme
    return [
        ("Emulation.setDeviceMetricsOverride", _metrics(device)),
        ("Emulation.setTouchEmulationEnabled", {"enabled": device.touch, "maxTouchPoints": _TOUCH_POINTS}),
        ("Emulation.setUserAgentOverride", _user_agent(device, chromium_user_agent)),
        ("Emulation.setLocaleOverride", {"locale": device.locale}),
        ("Emulation.setTimezoneOverride", {"timezoneId": device.timezone}),
        ("Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]}),
        ("Emulation.setFocusEmulationEnabled", {"enabled": True}),
    ]


def _metrics(device: Device) -> dict[str, Any]:
    width, height = device.viewport.width, device.viewport.height
    portrait = device.mobile and height >= width
    return {
        "width": width,
        "height": height,
        "screenWidth": width,
        "screenHeight": height,
        "deviceScaleFactor": device.pixel_ratio,
        "mobile": device.mobile,
        "screenOrientation": {
            "type": "portraitPrimary" if portrait else "landscapePrimary",
            "angle": 0 if portrait or not device.mobile else 90,
        },
    }


def _user_agent(device: Device, chromium_user_agent: str) -> dict[str, Any]:
    user_agent = device.user_agent or chromium_user_agent.replace("HeadlessChrome", "Chrome")
    language = device.locale.partition("-")[0]
    override: dict[str, Any] = {
        "userAgent": user_agent,
        "acceptLanguage": ",".join(dict.fromkeys([device.locale, language])),
        "platform": _platform(user_agent)[0],
    }
    version = _CHROME.search(user_agent)
    if version is not None:
        # Without it, Chromium would send no client hints, which no Chrome does; other browsers send none.
        override["userAgentMetadata"] = _hints(user_agent, version, mobile=device.mobile)
    return override


def _platform(user_agent: str) -> tuple[str, str]:
    """Return navigator.platform and the client hints' name of the platform."""
    for word, platform, hint in _PLATFORMS:
        if word in user_agent:
            return platform, hint
    return "Linux x86_64", "Linux"


def _brands(filler: str, version: str) -> list[dict[str, str]]:
    """Return Chromium's brand and the meaningless one that every Chromium adds."""
    return [{"brand": "Not=A?Brand", "version": filler}, {"brand": "Chromium", "version": version}]


def _hints(user_agent: str, version: re.Match[str], *, mobile: bool) -> dict[str, Any]:
    """Return the client hints (Sec-CH-UA-…, navigator.userAgentData) that fit a Chrome's user agent."""
    major = version.group(1)
    full = major + (version.group(2) or ".0.0.0")
    android = _ANDROID.search(user_agent)
    return {
        "brands": _brands("24", major),
        "fullVersionList": _brands("24.0.0.0", full),
        "platform": _platform(user_agent)[1],
        "platformVersion": android.group(1) if android else "",
        "architecture": "" if mobile else "x86",
        "model": (android.group(2) or "") if android else "",
        "mobile": mobile,
        "bitness": "" if mobile else "64",
        "wow64": False,
    }
