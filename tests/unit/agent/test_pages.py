"""Which page is in front, and what becomes of those that are lost."""

from __future__ import annotations

import asyncio
from typing import cast

import pytest

from driftstack_agent import pages
from driftstack_agent.browser import Browser
from driftstack_agent.notices import Notices
from driftstack_agent.page import Page
from driftstack_agent.pages import Pages
from tests.unit.agent.fakes import BareBrowser, FreshPage, StuckPage


class Rig:
    """Pages of a browser that opens fresh ones; `opened` are those."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.browser = BareBrowser()
        self.broken: list[str] = []
        self.pages = Pages(cast("Browser", self.browser), Notices(), lambda why: True, self.broken.append)
        self.opened: list[Page] = []
        self.lose_first = False
        monkeypatch.setattr(self.pages, "_open", self._open)

    async def _open(self) -> Page:
        await asyncio.sleep(0)
        page = FreshPage(f"opened {len(self.opened)}")
        if self.lose_first and not self.opened:
            page.lost.set_result("the page's renderer crashed")
        self.opened.append(cast("Page", page))
        return self.opened[-1]

    def bring(self, page: FreshPage) -> Page:
        """Put a page in front."""
        brought = cast("Page", page)
        self.pages._bring(brought, self.pages._stack)
        return brought


@pytest.fixture
async def rig(monkeypatch: pytest.MonkeyPatch) -> Rig:
    return Rig(monkeypatch)


async def passes() -> None:
    """Let whatever was begun run."""
    for _ in range(8):
        await asyncio.sleep(0)


async def test_a_stuck_page_that_crashes_is_replaced_once(rig: Rig) -> None:
    rig.bring(StuckPage("stuck"))
    page = await rig.pages.responsive()
    await passes()
    assert rig.opened == [page]
    assert await rig.pages.front() is page
    assert rig.browser.closed == ["stuck"]


async def test_a_replacement_that_is_lost_is_replaced_too(rig: Rig) -> None:
    rig.lose_first = True
    rig.bring(StuckPage("stuck"))
    await rig.pages.responsive()
    await passes()
    assert len(rig.opened) == 2
    assert await rig.pages.front() is rig.opened[1]


async def test_a_window_that_closes_gives_way_to_its_opener(rig: Rig) -> None:
    opener = rig.bring(FreshPage("opener"))
    window = FreshPage("window")
    rig.bring(window)
    window.lost.set_result("the page was closed")
    await passes()
    assert await rig.pages.front() is opener
    assert rig.opened == []
    assert window.closed


async def test_an_opener_that_closes_leaves_its_window_in_front(rig: Rig) -> None:
    opener = FreshPage("opener")
    rig.bring(opener)
    window = rig.bring(FreshPage("window"))
    opener.lost.set_result("the page was closed")
    await passes()
    assert await rig.pages.front() is window
    assert rig.opened == []


async def test_pages_are_left_alone_when_the_browser_is_gone(rig: Rig) -> None:
    page = FreshPage("page")
    rig.bring(page)
    rig.browser.connection.is_closed = True
    page.lost.set_result("Chromium closed the connection")
    await passes()
    assert (rig.opened, rig.broken) == ([], [])


@pytest.fixture
async def mute(monkeypatch: pytest.MonkeyPatch) -> FreshPage:
    """A window that answers no command."""

    async def watch(*_: object) -> Page:
        await asyncio.Event().wait()
        raise AssertionError

    monkeypatch.setattr(Page, "watch", watch)
    monkeypatch.setattr(pages, "_WINDOW_SECONDS", 0.01)
    return FreshPage("window")


async def test_a_window_that_answers_nothing_is_opened_again(rig: Rig, mute: FreshPage) -> None:
    page = await rig.pages._take_in(mute.target, "https://a.test/popped")
    assert rig.opened == [page]
    assert cast("FreshPage", page).sent == [("Page.navigate", {"url": "https://a.test/popped"})]
    await passes()
    assert rig.browser.closed == ["window"]


@pytest.mark.parametrize("url", ["", "about:blank", "file:///proc/self/environ", "javascript:1"])
async def test_only_a_url_of_the_web_is_opened_again(rig: Rig, mute: FreshPage, url: str) -> None:
    with pytest.raises(TimeoutError):
        await rig.pages._take_in(mute.target, url)
    assert rig.opened == []
