"""DevTools clients and the session's own rules: its device, its clocks, its end, its steps, its memory."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time

import pytest

from driftstack_common.kinds.archetype import Device, Viewport
from driftstack_common.protocol import Limits
from driftstack_common.protocol_devtools import (
    DEVTOOLS_CLIENTS,
    DEVTOOLS_MESSAGE_LIMIT,
    CloseCode,
    devtools_path,
)
from driftstack_common.protocol_steps import Tap
from tests.integration.agent.devtools import Client, open_socket, playwright
from tests.integration.agent.pod import SESSION, Driver, eventually
from tests.integration.agent.site import Site
from tests.integration.agent.steps import interact, navigate, page_title, state

PHONE = Device(
    viewport=Viewport(width=360, height=640),
    pixel_ratio=2,
    touch=True,
    mobile=True,
    user_agent="Phone/1",
    locale="de-DE",
    timezone="Europe/Berlin",
)
LOOK = (
    "JSON.stringify([innerWidth, devicePixelRatio, navigator.userAgent, navigator.language,"
    "Intl.DateTimeFormat().resolvedOptions().timeZone])"
)
MIB = 1024 * 1024


async def test_pages_show_the_device_unless_the_client_says_otherwise(driver: Driver, site: Site) -> None:
    await driver.claim(device=PHONE)
    await navigate(driver, f"{site.base}/hello")
    async with playwright(driver) as browser:
        page = browser.contexts[0].pages[0]
        phone = json.loads(await page.evaluate(LOOK))
        assert phone[1:] == [2, "Phone/1", "de-DE", "Europe/Berlin"]

        beside = await browser.contexts[0].new_page()
        await beside.goto(f"{site.base}/hello")
        assert json.loads(await beside.evaluate(LOOK)) == phone

        context = await browser.new_context(
            locale="fr-FR", timezone_id="Asia/Tokyo", user_agent="Mine/1", viewport={"width": 700, "height": 500}
        )
        own = await context.new_page()
        await own.goto(f"{site.base}/hello")
        assert json.loads(await own.evaluate(LOOK)) == [700, 1, "Mine/1", "fr-FR", "Asia/Tokyo"]

        devtools = await browser.contexts[0].new_cdp_session(page)
        metrics = {"width": 500, "height": 400, "deviceScaleFactor": 1, "mobile": False}
        await devtools.send("Emulation.setDeviceMetricsOverride", metrics)
        await devtools.send("Emulation.setTimezoneOverride", {"timezoneId": "Asia/Tokyo"})
        assert json.loads(await page.evaluate(LOOK)) == [500, 1, "Phone/1", "de-DE", "Asia/Tokyo"]
    async with Client(driver) as client:
        front = await client.page()
        assert await client.evaluate("location.pathname", front) == "/hello"
        async with asyncio.timeout(5):
            while json.loads(await client.evaluate(LOOK, front)) != phone:
                await client.send("Browser.getVersion")


async def test_commands_hold_the_idle_clock_and_idleness_ends_the_socket(driver: Driver) -> None:
    await driver.claim(Limits(idle_seconds=2))
    async with Client(driver) as client:
        await client.send("Target.setDiscoverTargets", discover=True)
        until = time.monotonic() + 3
        while time.monotonic() < until:
            await client.send("Browser.getVersion")
            await asyncio.sleep(0.1)
        assert await client.closed() == (CloseCode.ENDED, "idle")
    assert driver.pod.wait() == 0
    assert driver.pod.termination()["reason"] == "idle"


async def test_what_pages_say_holds_no_clock(driver: Driver, site: Site) -> None:
    await driver.claim(Limits(idle_seconds=2))
    async with Client(driver) as client:
        page = await client.page()
        await client.send("Runtime.enable", page)
        await client.evaluate("setInterval(() => console.log('noise'), 20)", page)
        began = time.monotonic()
        assert await client.closed() == (CloseCode.ENDED, "idle")
        assert time.monotonic() - began < 4
        assert len(client.events) > 20


async def test_the_duration_ends_the_socket(driver: Driver) -> None:
    await driver.claim(Limits(duration_seconds=2))
    async with Client(driver) as client:
        assert await client.closed() == (CloseCode.ENDED, "duration")
    assert driver.pod.wait() == 0


async def test_a_browser_that_dies_ends_the_socket(driver: Driver) -> None:
    await driver.claim()
    async with Client(driver) as client:
        os.kill(driver.pod.processes()[0], signal.SIGKILL)
        code, why = await client.closed()
        # Its pipe may be seen to close before its process is seen to end.
        assert code == CloseCode.BROWSER_FAILED
        assert why in ("browser-crashed", "Chromium closed the connection")


async def test_closing_the_browser_only_closes_the_socket(driver: Driver, site: Site) -> None:
    await driver.claim()
    async with Client(driver) as other:
        async with Client(driver) as client:
            await client.send("Browser.close")
            assert await client.closed() == (CloseCode.NORMAL, "Browser.close")
        assert (await other.send("Browser.getVersion"))["product"]
    assert (await navigate(driver, f"{site.base}/hello")).status == 200


async def test_there_are_so_many_clients_and_no_more(driver: Driver) -> None:
    await driver.claim()
    clients = [await Client(driver).__aenter__() for _ in range(DEVTOOLS_CLIENTS)]
    headers = {"Connection": "Upgrade", "Upgrade": "websocket"}
    status, problem = await driver.call("GET", devtools_path(SESSION), headers=headers)
    assert (status, problem["code"], problem["details"]) == (429, "too-many-clients", {"limit": DEVTOOLS_CLIENTS})
    await clients.pop().__aexit__()
    async with asyncio.timeout(5):
        while (await driver.call("GET", devtools_path(SESSION), headers=headers))[0] == 429:
            pass
    for client in clients:
        await client.__aexit__()


async def test_a_client_costs_little_memory(driver: Driver) -> None:
    await driver.claim()
    before = driver.pod.pss()
    async with Client(driver) as client:
        page = await client.page()
        for _ in range(3):
            assert len(await client.evaluate(f"'x'.repeat({8 * MIB})", page)) == 8 * MIB
        eventually(lambda: driver.pod.pss() < before + 4 * MIB, "what was passed on is forgotten")


async def test_a_client_that_reads_nothing_is_closed_and_nobody_else_feels_it(driver: Driver, site: Site) -> None:
    await driver.claim()
    before, most = driver.pod.pss(), 0
    async with Client(driver) as other, await open_socket(driver) as deaf:
        await other.evaluate(f"window.big = 'x'.repeat({8 * MIB})", await other.page())
        attach = {"targetId": await other.target(), "flatten": True}
        await deaf.send_json({"id": 1, "method": "Target.attachToTarget", "params": attach})
        session = json.loads(await deaf.receive_str())["params"]["sessionId"]
        evaluate = {"method": "Runtime.evaluate", "params": {"expression": "big"}, "sessionId": session}
        for number in range(2, 20):
            await deaf.send_json({"id": number, **evaluate})
        async with asyncio.timeout(30):
            while CloseCode.TOO_SLOW not in [line.get("code") for line in driver.pod.lines()]:
                most = max(most, driver.pod.pss())
                assert (await other.send("Browser.getVersion"))["product"]
        assert most < before + 2 * DEVTOOLS_MESSAGE_LIMIT
        assert (await navigate(driver, f"{site.base}/hello")).status == 200
        eventually(lambda: driver.pod.pss() < before + 16 * MIB, "what waited is forgotten")


async def test_a_flood_of_commands_starves_no_step(driver: Driver, site: Site) -> None:
    await driver.claim()
    async with Client(driver) as client:
        page = await client.page()
        command = json.dumps(
            {"id": 0, "method": "Runtime.evaluate", "sessionId": page, "params": {"expression": "1"}}
        )

        async def flood() -> None:
            while True:
                await client.socket.send_str(command)

        flooding = asyncio.create_task(flood())
        for _ in range(5):
            await navigate(driver, f"{site.base}/hello", timeout_ms=5_000)
            assert await page_title(driver) == "Hello"
        assert not flooding.done(), "or it was no flood"
        assert driver.pod.pss() < 64 * MIB
        flooding.cancel()
        driver.pod.stop()  # or closing would wait for what has been sent


async def test_a_client_that_lets_no_window_go_on_holds_up_no_step(driver: Driver, site: Site) -> None:
    await driver.claim()
    await navigate(driver, f"{site.base}/asks")
    async with Client(driver) as client:
        await client.send("Target.setAutoAttach", autoAttach=True, waitForDebuggerOnStart=True, flatten=True)
        for selector in ("#popup", "#window"):
            await interact(driver, Tap(selector=selector), timeout_ms=10_000)
            await navigate(driver, f"{site.base}/asks", timeout_ms=5_000)


@pytest.mark.parametrize("leaves", [False, True])
async def test_a_dialog_that_a_client_leaves_open_is_dismissed(driver: Driver, site: Site, leaves: bool) -> None:
    await driver.claim()
    await navigate(driver, f"{site.base}/hello")
    async with Client(driver) as client:
        page = await client.page()
        await client.send("Page.enable", page)
        await client.evaluate("setTimeout(() => document.title = confirm('really?'), 0)", page)
        opened = await client.event("Page.javascriptDialogOpening")
        assert opened["params"]["message"] == "really?"
        if leaves:
            await client.socket.close()
        # The step's own command would wait for ever behind an open dialog.
        assert (await state(driver)).title == "false"
