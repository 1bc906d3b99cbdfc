"""The agent's own bookkeeping, with a browser that is only its futures."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import cast

import pytest

from driftstack_agent import agent as module
from driftstack_agent.agent import Agent
from driftstack_agent.browser import Browser, Target
from driftstack_agent.errors import StepError
from driftstack_agent.memory import OomKills
from driftstack_agent.page import Page
from driftstack_common.kinds.archetype import Device, Viewport
from driftstack_common.protocol import Capture, Claim, EndReason, Navigate, ProblemCode


class StuckPage:
    """A page that was in a script, and crashes when it is asked whether it still is."""

    def __init__(self) -> None:
        self.target = cast("Target", None)
        self.lost: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def responsive(self) -> bool:
        if not self.lost.done():
            self.lost.set_result("the page's renderer crashed")
            await asyncio.sleep(0)
        return False

    def close(self) -> None:
        """Nothing to follow."""


class FreshPage(StuckPage):
    """What comes in its place."""

    async def responsive(self) -> bool:
        return True


class BareBrowser:
    """What the agent holds on to of a browser."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.exited: asyncio.Future[int] = loop.create_future()
        self.disconnected: asyncio.Future[None] = loop.create_future()
        self.connection = SimpleNamespace(is_closed=False)

    async def close_page(self, target: Target) -> None:
        """Nothing to close."""


async def test_a_stuck_page_that_crashes_is_replaced_once(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[Page] = []

    async def open_page(browser: Browser) -> Page:
        await asyncio.sleep(0)
        opened.append(cast("Page", FreshPage()))
        return opened[-1]

    monkeypatch.setattr(module, "open_page", open_page)
    agent = Agent(cast("Browser", BareBrowser()), start_seconds=1)
    agent._follow(cast("Page", StuckPage()))
    page = await agent._responsive_page()
    for _ in range(5):  # whatever else was begun would run now
        await asyncio.sleep(0)
    assert opened == [page]
    assert await agent._current_page() is page


async def test_a_replacement_that_is_lost_is_replaced_too(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[Page] = []

    async def open_page(browser: Browser) -> Page:
        opened.append(cast("Page", FreshPage()))
        if len(opened) == 1:
            opened[0].lost.set_result("the page's renderer crashed")
        return opened[-1]

    monkeypatch.setattr(module, "open_page", open_page)
    agent = Agent(cast("Browser", BareBrowser()), start_seconds=1)
    agent._follow(cast("Page", StuckPage()))
    await agent._responsive_page()
    for _ in range(5):
        await asyncio.sleep(0)
    assert len(opened) == 2
    assert await agent._current_page() is opened[1]


def claimed(agent: Agent) -> Agent:
    """Let an agent that never had a browser serve session `s`."""
    agent._hold(Claim(session="s", device=Device(viewport=Viewport(width=800, height=600))))
    return agent


async def test_a_step_waits_for_a_page_no_longer_than_its_own_time(monkeypatch: pytest.MonkeyPatch) -> None:
    async def open_page(browser: Browser) -> Page:
        await asyncio.Event().wait()  # Chromium does not answer
        raise AssertionError

    monkeypatch.setattr(module, "open_page", open_page)
    agent = claimed(Agent(cast("Browser", BareBrowser()), start_seconds=1))
    agent._follow(cast("Page", StuckPage()))
    for step in (
        agent.navigate("s", Navigate(url="http://203.0.113.10/", timeout_ms=100)),
        agent.capture("s", Capture(kind="pdf", timeout_ms=100)),
    ):
        with pytest.raises(StepError) as raised:
            await asyncio.wait_for(step, timeout=2)
        assert raised.value.problem.code is ProblemCode.TIMEOUT
    assert agent.activity("s").step is None, "the next step may run"


async def test_a_start_that_fails_in_an_unforeseen_way_ends_the_agent() -> None:
    agent = Agent(cast("Browser", BareBrowser()), start_seconds=1)  # has no `connect`: an AttributeError
    await agent.start()
    assert agent.ended.result().reason is EndReason.START_FAILED


class Kills(OomKills):
    """A kernel that has killed something, or not."""

    def __init__(self, *, any: bool) -> None:  # noqa: A002 - the property's name
        self._any = any

    @property
    def any(self) -> bool:
        return self._any


async def test_a_page_that_was_killed_for_memory_ends_the_session(monkeypatch: pytest.MonkeyPatch) -> None:
    agent = Agent(cast("Browser", BareBrowser()), 1, Kills(any=True))
    page = StuckPage()
    agent._follow(cast("Page", page))
    page.lost.set_result("the page's renderer crashed")
    await asyncio.sleep(0)
    assert agent.ended.result().reason is EndReason.OUT_OF_MEMORY
    with pytest.raises(StepError) as raised:
        agent.activity("s")
    assert raised.value.problem.code is ProblemCode.BROWSER_FAILED


@pytest.mark.parametrize(("kills", "reason"), [(True, EndReason.OUT_OF_MEMORY), (False, EndReason.BROWSER_CRASHED)])
async def test_a_browser_that_died_says_whether_it_was_memory(*, kills: bool, reason: EndReason) -> None:
    browser = BareBrowser()
    agent = Agent(cast("Browser", browser), 1, Kills(any=kills))
    agent._ready.set_result(None)
    browser.exited.set_result(-9)
    await asyncio.sleep(0)
    assert agent.ended.result().reason is reason
    assert agent.ended.result().message == "Chromium was ended by SIGKILL"
