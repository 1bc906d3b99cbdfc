"""Claiming: one session, for good, and the device its page shows."""

from __future__ import annotations

import asyncio
import json

import msgspec
import pytest

from driftstack_common.agent_client import AgentClient, AgentProblem, AgentUnreachable
from driftstack_common.kinds.archetype import Device, Viewport
from driftstack_common.protocol import AgentState, Claim, Claimed, Prepare, ProblemCode
from tests.integration.agent.conftest import StartPod
from tests.integration.agent.pod import DESKTOP, SESSION, Driver, Pod, new_http
from tests.integration.agent.site import Site
from tests.integration.agent.steps import navigate, page_title

OTHER = "11111111-7d3c-4f0e-9a55-6f2f4f9d1c11"
PHONE = Device(
    viewport=Viewport(width=390, height=844),
    pixel_ratio=3,
    touch=True,
    mobile=True,
    user_agent="Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) "
    "Version/18.0 Mobile/15E148 Safari/604.1",
    locale="de-DE",
    timezone="Europe/Berlin",
    color_scheme="dark",
)


async def test_the_first_session_holds_it_for_good(driver: Driver) -> None:
    await driver.ready()
    before = await driver.client.health(driver.pod.address)
    assert before.state is AgentState.WARM
    first = await driver.claim()
    assert first.session == SESSION
    assert first.browser.startswith("HeadlessChrome/")
    assert first.sandbox is not None
    assert first.sandbox.proven
    again = await driver.claim()
    assert msgspec.structs.replace(again, reached=first.reached) == first, "but for how long ago things were"
    with pytest.raises(AgentProblem) as caught:
        await driver.claim(session=OTHER)
    assert caught.value.code is ProblemCode.HOLDER_CONFLICT
    assert caught.value.details == {"holder": SESSION}
    assert (await driver.client.health(driver.pod.address)).state is AgentState.CLAIMED


async def test_of_many_at_once_one_wins(driver: Driver) -> None:
    await driver.ready()
    sessions = [f"{number:08d}-7d3c-4f0e-9a55-6f2f4f9d1c11" for number in range(8)]
    answers = await asyncio.gather(*(driver.claim(session=one) for one in sessions), return_exceptions=True)
    winners = [answer for answer in answers if isinstance(answer, Claimed)]
    losers = [answer for answer in answers if isinstance(answer, AgentProblem)]
    assert (len(winners), len(losers)) == (1, 7)
    assert {loser.details["holder"] for loser in losers} == {winners[0].session}


async def claim_once_it_listens(pod: Pod, client: AgentClient) -> tuple[Claimed, list[bool]]:
    """Return the first answer, and for each try before whether it had been sent."""
    tries: list[bool] = []
    async with asyncio.timeout(10):
        while True:
            try:
                return await client.claim(pod.address, pod.token, Claim(session=SESSION, device=DESKTOP)), tries
            except AgentUnreachable as error:
                tries.append(error.sent)


async def test_a_claim_while_the_browser_starts_waits_for_it(start_pod: StartPod) -> None:
    async with new_http() as http:
        claimed, tries = await claim_once_it_listens(start_pod(), AgentClient(http))
    assert claimed.sandbox is not None
    ages = [getattr(claimed.reached, stage) for stage in ("container", "agent", "chromium", "page")]
    assert None not in ages, claimed.reached
    assert ages == sorted(ages, reverse=True), "each stage was reached after the one before it"
    assert ages[-1] >= 0
    assert tries
    assert not any(tries)


async def test_the_page_shows_the_device(driver: Driver, site: Site) -> None:
    await driver.claim(device=PHONE)
    site.requests.clear()
    await navigate(driver, f"{site.base}/device")
    assert json.loads(await page_title(driver)) == {
        "ua": PHONE.user_agent,
        "platform": "iPhone",
        "languages": ["de-DE", "de"],
        # Without a viewport meta tag a phone lays out 980 pixels wide.
        "width": 980,
        "height": 2121,
        "ratio": 3,
        "touch": 5,
        "zone": "Europe/Berlin",
        "locale": "de-DE",
        "dark": True,
    }
    headers = next(headers for path, headers in site.requests if path == "/device")
    assert headers["user-agent"] == PHONE.user_agent
    assert headers["accept-language"] == "de-DE,de;q=0.9"


async def test_the_default_user_agent_is_chromiums_without_the_word_headless(driver: Driver, site: Site) -> None:
    claimed = await driver.claim()
    site.requests.clear()
    await navigate(driver, f"{site.base}/device")
    shown = json.loads(await page_title(driver))
    headers = next(headers for path, headers in site.requests if path == "/device")
    product = claimed.browser.removeprefix("Headless")
    assert product in shown["ua"]
    assert "Headless" not in json.dumps([shown, headers])
    assert (shown["width"], shown["height"], shown["touch"]) == (800, 600, 0)


async def test_a_device_chromium_refuses_is_invalid(driver: Driver) -> None:
    with pytest.raises(AgentProblem) as caught:
        await driver.claim(device=Device(viewport=Viewport(width=800, height=600), timezone="Mars/Olympus"))
    assert caught.value.code is ProblemCode.INVALID


async def test_steps_need_the_holders_uid(driver: Driver) -> None:
    await driver.ready()
    status, problem = await driver.call("GET", f"/sessions/{SESSION}")
    assert (status, problem["code"]) == (404, "not-found")
    await driver.claim()
    status, problem = await driver.call("POST", f"/sessions/{OTHER}/capture", b'{"kind":"screenshot"}')
    assert (status, problem["code"], problem["details"]) == (409, "holder-conflict", {"holder": SESSION})


async def test_one_step_at_a_time(driver: Driver, site: Site) -> None:
    await driver.claim()
    running = asyncio.create_task(navigate(driver, f"{site.base}/slow?seconds=1"))
    async with asyncio.timeout(5):
        while (await driver.client.activity(driver.pod.address, driver.pod.token, SESSION)).step != "navigate":
            assert not running.done()
    status, problem = await driver.call("POST", f"/sessions/{SESSION}/capture", b'{"kind":"screenshot"}')
    assert (status, problem["code"]) == (409, "step-running")
    assert (await running).status == 200
    after = await driver.client.activity(driver.pod.address, driver.pod.token, SESSION)
    assert after.step is None
    assert after.idle_seconds < 1


async def test_it_says_whose_it_is(driver: Driver) -> None:
    pod = driver.pod
    await driver.ready()
    assert await driver.client.holder(pod.address, pod.token) is None
    assert (await driver.client.health(pod.address)).state is AgentState.WARM
    await driver.claim()
    assert await driver.client.holder(pod.address, pod.token) == SESSION
    with pytest.raises(AgentProblem) as caught:
        await driver.client.holder(pod.address, "0" * 64)
    assert caught.value.code is ProblemCode.UNAUTHORIZED


@pytest.mark.parametrize("prepared", [PHONE, DESKTOP])
async def test_a_device_that_was_prepared_is_no_ones_until_it_is_claimed(
    driver: Driver, site: Site, prepared: Device
) -> None:
    pod, client = driver.pod, driver.client
    await driver.ready()
    assert await client.prepare(pod.address, pod.token, Prepare(device=prepared)) is None
    unknown = msgspec.structs.replace(prepared, timezone="Nowhere/Atall")
    assert await client.prepare(pod.address, pod.token, Prepare(device=unknown)) is None
    assert await client.prepare(pod.address, pod.token, Prepare(device=prepared)) is None
    await driver.claim(device=PHONE)
    assert await client.prepare(pod.address, pod.token, Prepare(device=DESKTOP)) == SESSION, "it shows its own"
    await navigate(driver, f"{site.base}/device")
    shown = json.loads(await page_title(driver))
    assert (shown["width"], shown["ratio"], shown["touch"], shown["zone"]) == (980, 3, 5, "Europe/Berlin")
    assert shown["ua"] == PHONE.user_agent
