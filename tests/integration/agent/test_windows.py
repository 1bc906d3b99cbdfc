"""What pages want of a person: dialogs, windows, downloads, files, passwords. No step waits for one."""

from __future__ import annotations

import asyncio
import json
import time

import pytest

from driftstack_common.protocol import Notice, ProblemCode
from driftstack_common.protocol_steps import Elapsed, Press, SelectorShown, Tap, Type
from tests.integration.agent.pod import Driver
from tests.integration.agent.site import Site
from tests.integration.agent.steps import (
    capture,
    capture_fails,
    interact,
    leave,
    navigate,
    open_page,
    state,
    text,
    wait,
)


@pytest.mark.parametrize(
    ("selector", "notice", "seen"),
    [
        ("#alert", Notice(kind="alert", outcome="dismissed", text="hello"), ""),
        ("#confirm", Notice(kind="confirm", outcome="dismissed", text="sure?"), "confirmed false"),
        ("#prompt", Notice(kind="prompt", outcome="dismissed", text="who?"), "prompted"),
        ("#file", Notice(kind="file_chooser", outcome="cancelled"), ""),
    ],
)
async def test_a_dialog_is_dismissed_and_told(
    session: Driver, site: Site, selector: str, notice: Notice, seen: str
) -> None:
    await open_page(session, site, "/asks")
    done = await interact(session, Tap(selector=selector))
    assert done.notices == [notice]
    assert seen in await text(session)
    assert (await interact(session, Press(key="a"))).notices == []


async def test_a_download_is_refused_and_told(session: Driver, site: Site) -> None:
    await open_page(session, site, "/asks")
    done = await interact(session, Tap(selector="#download"))
    later = await wait(session, Elapsed(ms=300))
    refused = Notice(kind="download", outcome="refused", text="abc.txt", url=f"{site.base}/download")
    assert [*done.notices, *later.notices] == [refused], "also when it began between the two"
    assert await text(session, "#download") == "d"


async def test_a_password_prompt_is_the_page_without_one(session: Driver, site: Site) -> None:
    assert (await navigate(session, f"{site.base}/auth", timeout_ms=5000)).status == 401
    assert (await state(session)).title == "denied"


async def test_a_window_comes_to_the_front_with_the_device_and_goes(session: Driver, site: Site) -> None:
    await open_page(session, site, "/asks")
    done = await interact(session, Tap(selector="#popup"))
    assert done.notices == [Notice(kind="popup", outcome="front", url=f"{site.base}/window")]
    assert (await wait(session, SelectorShown(selector="#close"))).satisfied
    found = await state(session)
    assert found.url == f"{site.base}/window"
    seen = await text(session)
    assert "Headless" not in seen
    assert seen.endswith("800 1"), seen
    await interact(session, Tap(selector="#close"))
    assert (await state(session)).url == f"{site.base}/asks"
    await interact(session, Tap(selector="#confirm"))
    assert "confirmed false" in await text(session)


async def test_a_link_to_a_new_window_is_followed(session: Driver, site: Site) -> None:
    await open_page(session, site, "/asks")
    done = await interact(session, Tap(selector="#blank"))
    assert [notice.outcome for notice in done.notices if notice.kind == "popup"] == ["front"]
    assert (await wait(session, Elapsed(ms=200))).satisfied
    assert (await state(session)).title == "popped"
    # The window is the session's page now; whoever wants another one navigates.
    assert (await navigate(session, f"{site.base}/hello")).status == 200
    assert (await state(session)).title == "Hello"


async def test_a_window_of_a_script_stays_in_the_background(session: Driver, site: Site) -> None:
    done = await navigate(session, f"{site.base}/popup")
    assert Notice(kind="popup", outcome="background", url=f"{site.base}/popped") in done.notices
    assert (await state(session)).title == "opener"


async def test_alerts_without_end_time_out_and_are_left(session: Driver, site: Site) -> None:
    await open_page(session, site, "/alerts-forever")
    started = time.monotonic()
    assert (await capture_fails(session, "screenshot", timeout_ms=500)).code is ProblemCode.TIMEOUT
    assert time.monotonic() - started < 3
    assert (await navigate(session, f"{site.base}/hello", timeout_ms=8000)).status == 200


async def test_sensitive_text_is_in_no_notice(session: Driver, site: Site) -> None:
    await open_page(session, site, "/tells")
    done = await interact(session, Type(selector="#f", text="hunter2", sensitive=True))
    assert done.notices
    assert "hunter2" not in str(done.notices)
    assert "hunter2" not in session.pod.log.read_text()


async def test_a_page_that_reloads_all_the_time_can_be_captured(session: Driver, site: Site) -> None:
    await open_page(session, site, "/reloads")
    for kind in ("screenshot", "dom_snapshot", "pdf"):
        captured = await capture(session, kind, timeout_ms=8000)
        assert captured.duration_ms < 6000, kind
    await leave(session, site)


async def test_a_capture_of_a_page_that_moves_on_is_of_what_comes(session: Driver, site: Site) -> None:
    await open_page(session, site, "/leaves")
    tapping = asyncio.create_task(interact(session, Tap(selector="#link")))
    await tapping
    snapshot = json.loads((await capture(session, "dom_snapshot")).data)
    assert snapshot["documents"]
