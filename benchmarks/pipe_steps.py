"""Runs in a browser pod, by `steps.py`: navigate and capture over the DevTools pipe of a Chromium of its own.

Nothing of the agent's steps is used, only its connection: each line on stdin is a round, answered with its
milliseconds. The first argument is the page.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import sys
import tempfile
import time

from driftstack_agent import chromium
from driftstack_agent.browser import Browser, Target
from driftstack_agent.device import commands
from driftstack_agent.reaper import Reaper
from driftstack_agent.settings import Settings
from driftstack_common.kinds.archetype import Device, Viewport

LOADED = "Page.loadEventFired"


async def attach(browser: Browser) -> Target:
    """Attach to the page that Chromium opens by itself; it shows what a default session shows."""
    connection = browser.connection
    targets = json.loads(bytes(await connection.send("Target.getTargets")))["targetInfos"]
    page = next(info["targetId"] for info in targets if info["type"] == "page")
    attached = await connection.send("Target.attachToTarget", {"targetId": page, "flatten": True})
    target = Target(connection, page, json.loads(bytes(attached))["sessionId"])
    await target.send("Page.enable")
    for command in commands(Device(viewport=Viewport(width=1280, height=800)), browser.version.user_agent):
        await target.send(*command)
    return target


async def take_round(target: Target, url: str) -> float:
    """Return the seconds of one navigate, until loaded, and one screenshot, decoded."""
    started = time.perf_counter()
    with target.subscribe([LOADED]) as events:
        await target.send("Page.navigate", {"url": url})
        await anext(events)
    shot = json.loads(bytes(await target.send("Page.captureScreenshot", {"format": "png"})))
    assert base64.b64decode(shot["data"]).startswith(b"\x89PNG")
    return time.perf_counter() - started


async def main() -> None:
    """Serve rounds until stdin ends."""
    reaper = Reaper()
    process = chromium.spawn(Settings(token="-" * 32, folder=tempfile.mkdtemp()))
    browser = Browser(process, reaper.watch(process.pid))
    await browser.connect()
    await browser.start(30)
    target = await attach(browser)
    print("ready", flush=True)
    while await asyncio.to_thread(sys.stdin.readline):
        print(await take_round(target, sys.argv[1]) * 1000, flush=True)
    await browser.close()
    reaper.close()


os.environ.pop("DRIFTSTACK_AGENT_TOKEN", None)
asyncio.run(main())
