"""Pages that do all they can: every step answers in its time, and the session is of use afterwards."""

from __future__ import annotations

import time

import pytest

from driftstack_common.agent_client import AgentProblem
from driftstack_common.protocol import Notice, ProblemCode
from driftstack_common.protocol_steps import Extraction, Press, SelectorShown, Tap, Type
from tests.integration.agent.pod import Driver
from tests.integration.agent.site import Site
from tests.integration.agent.steps import (
    capture,
    extract,
    interact,
    interact_fails,
    leave,
    navigate,
    navigate_fails,
    open_page,
    state,
    text,
    wait,
)

SLACK = 1.5
"""Seconds that an answer may take beyond its step's time: a busy machine's, and stopping what loads."""


async def usable(driver: Driver, site: Site) -> None:
    """Assert that the session loads, reads and captures another page."""
    await leave(driver, site)
    assert (await capture(driver, "screenshot", timeout_ms=8000)).data.startswith(b"\x89PNG")


@pytest.mark.parametrize("path", ["/headers-only", "/trickle"])
async def test_a_page_that_never_ends_is_a_timeout(session: Driver, site: Site, path: str) -> None:
    started = time.monotonic()
    problem = await navigate_fails(session, site.base + path, timeout_ms=500)
    assert (problem.code, problem.details) == (ProblemCode.TIMEOUT, {"timeout_ms": 500})
    assert time.monotonic() - started < 0.5 + SLACK
    await usable(session, site)


async def test_a_network_that_is_never_idle_is_a_timeout(session: Driver, site: Site) -> None:
    started = time.monotonic()
    with pytest.raises(AgentProblem) as caught:
        await navigate(session, f"{site.base}/polls", wait_until="networkidle", timeout_ms=1500)
    assert caught.value.code is ProblemCode.TIMEOUT
    assert time.monotonic() - started < 1.5 + SLACK
    assert await text(session, "h1") == "Here", "what was loaded stays"
    await usable(session, site)


@pytest.mark.parametrize(
    "path",
    [
        "/refreshes", "/pushes", "/writes", "/frames-come-and-go", "/prints", "/throws-always", "/deep", "/many",
        "/closes", "/burns", "/left-open",
    ],
)  # fmt: skip
async def test_every_step_works_on_a_page_without_rest(session: Driver, site: Site, path: str) -> None:
    assert (await navigate(session, site.base + path, timeout_ms=10_000)).status == 200
    assert (await wait(session, SelectorShown(selector="h1"), timeout_ms=5000)).satisfied
    assert (await state(session)).url.startswith(site.base + path)
    await interact(session, Press(key="a"), timeout_ms=5000)
    for kind in ("screenshot", "pdf", "dom_snapshot"):
        assert (await capture(session, kind, timeout_ms=10_000)).data
    await usable(session, site)


async def test_deep_and_wide_pages_are_read(session: Driver, site: Site) -> None:
    await open_page(session, site, "/deep")
    assert await text(session, "#bottom") == "bottom"
    await interact(session, Tap(selector="#bottom"))
    await open_page(session, site, "/many")
    assert (await extract(session, Extraction(name="all", selector="p", type="list")))["all"] == ["one"] * 100_000


async def test_a_page_that_kills_its_renderer_costs_a_step(session: Driver, site: Site) -> None:
    async def visit() -> None:
        await navigate(session, f"{site.base}/bottomless")
        await text(session, "h1")  # where it dies is Chromium's choice

    with pytest.raises(AgentProblem) as caught:
        await visit()
    assert caught.value.code is ProblemCode.BROWSER_FAILED
    await usable(session, site)


async def test_a_page_that_runs_for_ever_answers_no_step_and_is_left(session: Driver, site: Site) -> None:
    await navigate(session, f"{site.base}/loop")
    for step in (
        lambda: extract(session, Extraction(name="x", selector="h1", type="text"), timeout_ms=500),
        lambda: interact(session, Press(key="a"), timeout_ms=500),
        lambda: interact(session, Type(selector="h1", text="x"), timeout_ms=500),
        lambda: capture(session, "screenshot", timeout_ms=500),
        lambda: capture(session, "pdf", timeout_ms=500),
    ):
        started = time.monotonic()
        with pytest.raises(AgentProblem) as caught:
            await step()
        assert caught.value.code is ProblemCode.TIMEOUT
        assert time.monotonic() - started < 0.5 + SLACK
    await usable(session, site)


async def test_a_page_that_wants_to_stay_is_left(session: Driver, site: Site) -> None:
    await open_page(session, site, "/stays")
    await interact(session, Tap(selector="#b"))  # without, Chromium asks no one
    done = await navigate(session, f"{site.base}/hello", timeout_ms=8000)
    assert done.notices == [Notice(kind="beforeunload", outcome="accepted")]
    assert (done.status, done.final_url) == (200, f"{site.base}/hello")
    await usable(session, site)


async def test_a_frame_that_goes_while_it_is_tapped(session: Driver, site: Site) -> None:
    await open_page(session, site, "/drops-frame")
    started = time.monotonic()
    problem = await interact_fails(session, Tap(selector="iframe >>> #b"), timeout_ms=1500)
    assert (problem.code, "missing" in problem.message) == (ProblemCode.TIMEOUT, True)
    assert time.monotonic() - started < 1.5 + SLACK
    assert await extract(session, Extraction(name="f", selector="iframe", type="list")) == {"f": []}
    await usable(session, site)


@pytest.mark.parametrize("path", ["/closes-when-pressed", "/fullscreen", "/asks-rights"])
async def test_buttons_that_do_more_than_expected(session: Driver, site: Site, path: str) -> None:
    await open_page(session, site, path)
    await interact(session, Tap(selector="#b"), timeout_ms=5000)
    await usable(session, site)
