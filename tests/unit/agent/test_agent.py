"""The agent's own bookkeeping, with a browser that is only its futures."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import cast

import pytest

from driftstack_agent.agent import Agent
from driftstack_agent.browser import Browser
from driftstack_agent.errors import StepError
from driftstack_agent.memory import OomKills
from driftstack_agent.page import Page
from driftstack_agent.usage import capture_counts
from driftstack_common.kinds import StepCounts
from driftstack_common.kinds.archetype import Device, Viewport
from driftstack_common.protocol import Capture, CaptureKind, Claim, EndReason, Navigate, ProblemCode
from driftstack_common.protocol_steps import (
    Elapsed,
    Extract,
    Extraction,
    Interact,
    Press,
    SelectorShown,
    State,
    Wait,
)
from tests.unit.agent.fakes import BareBrowser, StuckPage


def claimed(agent: Agent) -> Agent:
    """Let an agent that never had a browser serve session `s`."""
    agent._hold(Claim(session="s", device=Device(viewport=Viewport(width=800, height=600))))
    return agent


@pytest.fixture
async def agent() -> Agent:
    """An agent whose page is stuck, with a Chromium that opens no other."""
    agent = claimed(Agent(cast("Browser", BareBrowser()), start_seconds=1))
    agent._pages._bring(cast("Page", StuckPage()), agent._pages._stack)
    agent._pages._give_up(agent._pages._stack[0], "stuck")
    return agent


async def test_a_step_waits_for_a_page_no_longer_than_its_own_time(agent: Agent) -> None:
    extraction = Extraction(name="n", selector="p", type="text")
    for step in (
        agent.navigate("s", Navigate(url="http://203.0.113.10/", timeout_ms=100)),
        agent.capture("s", Capture(kind="pdf", timeout_ms=100)),
        agent.interact("s", Interact(action=Press(key="a"), timeout_ms=100)),
        agent.extract("s", Extract(extractions=[extraction], timeout_ms=100)),
        agent.state("s", State(timeout_ms=100)),
        agent.wait("s", Wait(condition=SelectorShown(selector="p"), timeout_ms=100)),
    ):
        with pytest.raises(StepError) as raised:
            await asyncio.wait_for(step, timeout=2)
        assert raised.value.problem.code is ProblemCode.TIMEOUT
        assert agent.activity("s").step is None, "the next step may run"


async def test_a_pause_needs_no_page(agent: Agent) -> None:
    assert (await agent.wait("s", Wait(condition=Elapsed(ms=1)))).satisfied


async def test_steps_that_succeed_are_counted_and_no_others(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    today = datetime(2026, 5, 12, 23, 59, tzinfo=UTC)
    monkeypatch.setattr("driftstack_agent.usage.now", lambda: today)
    pause = Wait(condition=Elapsed(ms=1))
    await agent.wait("s", pause)
    with pytest.raises(StepError):
        await agent.wait("s", Wait(condition=SelectorShown(selector="p"), timeout_ms=100))
    with pytest.raises(StepError):
        await agent.wait("another", pause)
    today += timedelta(minutes=1)
    await agent.wait("s", pause)
    await agent.wait("s", pause)
    expected = {"2026-05-12": StepCounts(wait=1), "2026-05-13": StepCounts(wait=2)}
    assert agent.activity("s").usage == expected
    agent.end(EndReason.IDLE, "over")
    assert agent.ended.result().usage == expected


@pytest.mark.parametrize(
    ("kind", "counts"),
    [("screenshot", "screenshot_capture"), ("pdf", "screenshot_capture"), ("dom_snapshot", "state_capture")],
)
def test_what_a_capture_counts_as(kind: CaptureKind, counts: str) -> None:
    assert capture_counts(kind) == counts


async def test_one_step_at_a_time(agent: Agent) -> None:
    running = asyncio.create_task(agent.wait("s", Wait(condition=Elapsed(ms=60_000), timeout_ms=120_000)))
    await asyncio.sleep(0)
    assert agent.activity("s").step == "wait"
    with pytest.raises(StepError) as raised:
        await agent.state("s", State())
    assert raised.value.problem.code is ProblemCode.STEP_RUNNING
    agent.end(EndReason.IDLE, "over")
    with pytest.raises(StepError) as raised:
        await running
    assert raised.value.problem.code is ProblemCode.ENDED


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


async def test_a_page_that_was_killed_for_memory_ends_the_session() -> None:
    agent = Agent(cast("Browser", BareBrowser()), 1, Kills(any=True))
    page = StuckPage()
    agent._pages._bring(cast("Page", page), agent._pages._stack)
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
