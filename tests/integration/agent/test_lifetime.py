"""How the agent starts and ends: exit codes, termination messages, crashes survived, children reaped."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from pathlib import Path

import msgspec
import pytest

from driftstack_common.agent_client import AgentProblem
from driftstack_common.kinds import StepCounts
from driftstack_common.protocol import Limits, ProblemCode, Termination
from driftstack_common.protocol_steps import Elapsed, Extraction, Scroll
from tests.integration.agent.conftest import StartPod
from tests.integration.agent.pod import CHROMIUM, PORT, PSS_LIMIT, SESSION, Driver, eventually, new_http
from tests.integration.agent.site import Site
from tests.integration.agent.steps import (
    capture,
    extract,
    interact,
    navigate,
    navigate_fails,
    page_title,
    state,
    wait,
)


async def test_sigterm_ends_it_fast(driver: Driver) -> None:
    began = time.monotonic()
    await driver.claim()
    claimed = time.monotonic()
    driver.pod.process.send_signal(signal.SIGTERM)
    assert driver.pod.wait() == 143
    # 0.1 s, or less than half of a start when the machine is busy; what waits for a timeout of ours takes longer.
    assert time.monotonic() - claimed < max(0.5, claimed - began)
    termination = driver.pod.termination()
    assert (termination["reason"], termination["message"]) == ("terminated", "SIGTERM")
    assert not list(driver.pod.folder.glob("driftstack-*"))


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        (Limits(idle_seconds=1), "idle"),
        (Limits(duration_seconds=1, idle_seconds=60), "duration"),
    ],
)
async def test_a_clock_ends_it_with_exit_0(driver: Driver, limits: Limits, reason: str) -> None:
    await driver.claim(limits)
    assert driver.pod.wait() == 0
    assert driver.pod.termination()["reason"] == reason


async def test_a_step_holds_the_idle_clock_but_not_the_duration(driver: Driver, site: Site) -> None:
    await driver.claim(Limits(idle_seconds=1, duration_seconds=3))
    assert (await navigate(driver, f"{site.base}/slow?seconds=1.3")).status == 200
    with pytest.raises(AgentProblem) as caught:
        await navigate(driver, f"{site.base}/slow?seconds=5")
    assert caught.value.code is ProblemCode.ENDED
    assert driver.pod.wait() == 0
    assert driver.pod.termination()["reason"] == "duration"


async def test_its_last_words_have_the_steps_that_were_done(driver: Driver, site: Site) -> None:
    await driver.claim()
    await navigate(driver, f"{site.base}/device")
    await navigate_fails(driver, "http://203.0.113.1:1/", timeout_ms=300)
    await capture(driver, "screenshot")
    await capture(driver, "pdf")
    await capture(driver, "dom_snapshot")
    await state(driver)
    await extract(driver, Extraction(name="n", selector="body", type="text"))
    await wait(driver, Elapsed(ms=1))
    await interact(driver, Scroll(delta_y=10))
    expected = StepCounts(navigate=1, interact=1, wait=1, state_capture=3, screenshot_capture=2)
    told = (await driver.client.activity(driver.pod.address, driver.pod.token, SESSION)).usage
    assert summed(told) == expected
    driver.pod.process.send_signal(signal.SIGTERM)
    assert driver.pod.wait() == 143
    assert msgspec.convert(driver.pod.termination(), Termination).usage == told


def summed(days: dict[str, StepCounts]) -> StepCounts:
    """Add up what may be two days, at midnight."""
    return StepCounts(
        **{kind: sum(getattr(day, kind) for day in days.values()) for kind in StepCounts.__struct_fields__}
    )


async def test_an_unclaimed_agent_has_no_clock(driver: Driver) -> None:
    await driver.ready()
    assert not driver.pod.termination_log.exists()


async def test_a_renderer_crash_fails_the_step_and_the_next_one_works(driver: Driver, site: Site) -> None:
    await driver.claim()
    await navigate(driver, f"{site.base}/hello")
    running = asyncio.create_task(navigate(driver, f"{site.base}/slow-image?"))
    image = "/slow?seconds=0.8"
    await asyncio.to_thread(eventually, lambda: image in [path for path, _ in site.requests[-2:]], "it loads")
    for pid in driver.pod.processes("--type=renderer"):
        os.kill(pid, signal.SIGKILL)
    with pytest.raises(AgentProblem) as caught:
        await running
    assert caught.value.code is ProblemCode.BROWSER_FAILED
    assert (await navigate(driver, f"{site.base}/device")).status == 200
    shown = json.loads(await page_title(driver))
    assert (shown["width"], shown["height"]) == (800, 600)
    assert "Headless" not in shown["ua"]
    assert driver.pod.process.poll() is None


async def test_a_renderer_crash_between_steps_is_survived(driver: Driver, site: Site) -> None:
    await driver.claim()
    for _ in range(3):
        await navigate(driver, f"{site.base}/red")
        for pid in driver.pod.processes("--type=renderer"):
            os.kill(pid, signal.SIGKILL)
        eventually(lambda: driver.pod.lines()[-1]["event"] == "page replaced", "the page is replaced")
        assert (await capture(driver, "screenshot")).data.startswith(b"\x89PNG")


async def test_chromiums_death_ends_the_agent(driver: Driver, site: Site) -> None:
    await driver.claim()
    running = asyncio.create_task(navigate(driver, f"{site.base}/slow?seconds=9"))
    async with asyncio.timeout(5):
        while (await driver.client.activity(driver.pod.address, driver.pod.token, SESSION)).step is None:
            pass
    os.kill(driver.pod.processes("--user-data-dir")[0], signal.SIGKILL)
    with pytest.raises(AgentProblem) as caught:
        await running
    assert caught.value.code is ProblemCode.BROWSER_FAILED
    assert driver.pod.wait() == 1
    termination = driver.pod.termination()
    log = [json.loads(line) for line in termination.pop("log").splitlines()]
    assert termination == {"reason": "browser-crashed", "message": "Chromium was ended by SIGKILL", "usage": {}}
    assert [line["event"] for line in log][:3] == ["listening", "ready", "claimed"]


def test_orphans_are_reaped(start_pod: StartPod, tmp_path: Path) -> None:
    chromium = tmp_path / "with-orphan"
    chromium.write_text(f'#!/bin/sh\n(sleep 1.357 &)\nexec {CHROMIUM} "$@"\n')
    chromium.chmod(0o755)
    pod = start_pod(CHROMIUM=str(chromium))
    [orphan] = eventually(lambda: pod.processes("1.357"), "the orphan runs")
    stat = Path(f"/proc/{orphan}/stat")
    assert int(stat.read_text().split()[3]) == pod.pid  # given to the agent
    eventually(lambda: not stat.exists(), "the orphan is reaped")
    assert pod.process.poll() is None


def test_a_missing_chromium_is_a_failed_start(start_pod: StartPod) -> None:
    pod = start_pod(CHROMIUM="/nowhere/chromium")
    assert pod.wait() == 1
    termination = pod.termination()
    assert termination["reason"] == "start-failed"
    assert "/nowhere/chromium" in termination["message"]


def test_a_browser_that_never_answers_is_a_failed_start(start_pod: StartPod, tmp_path: Path) -> None:
    mute = tmp_path / "mute"
    mute.write_text("#!/bin/sh\nexec sleep 60\n")
    mute.chmod(0o755)
    pod = start_pod(CHROMIUM=str(mute), START_SECONDS="1")
    assert pod.wait() == 1
    assert pod.termination()["reason"] == "start-failed"


@pytest.mark.parametrize("says", ["FATAL: No usable sandbox! ..."])
def test_a_browser_without_a_sandbox_is_named(start_pod: StartPod, tmp_path: Path, says: str) -> None:
    fake = tmp_path / "fake"
    fake.write_text(f"#!/bin/sh\necho '{says}' >&2\nexit 1\n")
    fake.chmod(0o755)
    pod = start_pod(CHROMIUM=str(fake))
    assert pod.wait() == 1
    termination = pod.termination()
    assert termination["reason"] == "sandbox-missing"
    assert says in termination["message"]


def test_an_unconfined_renderer_ends_it(start_pod: StartPod, tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    bare.write_text('#!/bin/sh\nexec /usr/lib/chromium/chromium-headless-shell --no-sandbox "$@"\n')
    bare.chmod(0o755)
    pod = start_pod(CHROMIUM=str(bare))
    assert pod.wait(15) == 1
    assert pod.termination()["reason"] == "sandbox-missing"


def test_a_port_in_use_is_a_failed_start(start_pod: StartPod) -> None:
    first = start_pod()
    eventually(lambda: "listening" in first.log.read_text(), "the first listens")
    second = start_pod()
    assert second.wait() == 1
    assert str(PORT) in second.termination()["message"]


def test_an_unknown_setting_is_refused(start_pod: StartPod) -> None:
    pod = start_pod(COLOUR="blue")
    assert pod.wait() == 1
    assert "DRIFTSTACK_AGENT_COLOUR is no setting" in pod.log.read_text()


async def test_neither_log_nor_last_words_hold_anything_of_a_page(driver: Driver, site: Site) -> None:
    await driver.claim()
    await navigate(driver, f"{site.base}/secretive?query-secret#fragment-secret")
    await page_title(driver)
    await navigate_fails(driver, "http://secret.invalid/path-secret")
    await navigate_fails(driver, "http://user-secret:password-secret@127.0.0.1/?query-secret")
    await navigate_fails(driver, f"{site.base}/slow?seconds=9&secret", timeout_ms=300)
    for renderer in driver.pod.processes("--type=renderer"):  # one of them may be the last page's
        os.kill(renderer, signal.SIGKILL)
    eventually(lambda: driver.pod.lines()[-1]["event"] == "page replaced", "the page is replaced")
    os.kill(driver.pod.processes("--user-data-dir")[0], signal.SIGKILL)
    driver.pod.wait()
    text = driver.pod.log.read_text() + driver.pod.termination_log.read_text()
    assert "secret" not in text
    assert "http" not in text
    assert driver.pod.token not in text
    events = {line["event"] for line in driver.pod.lines()}
    assert events >= {"listening", "ready", "claimed", "step done", "step failed", "page given up", "ended"}


async def test_memory_stays_small(driver: Driver, site: Site) -> None:
    await driver.claim()
    for page in ("noise", "hello"):
        await navigate(driver, f"{site.base}/{page}")
        for _ in range(3):
            await capture(driver, "screenshot")
            await capture(driver, "dom_snapshot")
    assert driver.pod.pss() < PSS_LIMIT


async def test_the_client_may_leave_during_a_step(driver: Driver, site: Site) -> None:
    await driver.claim()
    async with new_http() as other:
        gone = Driver(driver.pod, other)
        running = asyncio.create_task(navigate(gone, f"{site.base}/slow?seconds=0.5"))
        async with asyncio.timeout(5):
            while (await driver.client.activity(driver.pod.address, driver.pod.token, SESSION)).step is None:
                pass
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    async with asyncio.timeout(5):
        while (await driver.client.activity(driver.pod.address, driver.pod.token, SESSION)).step is not None:
            pass
    assert (await navigate(driver, f"{site.base}/hello")).status == 200
