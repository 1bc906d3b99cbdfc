"""Playwright on the agent's DevTools door, with steps in between."""

from __future__ import annotations

import pytest
from playwright.async_api import Dialog

from driftstack_common.protocol_steps import Tap
from tests.integration.agent.devtools import playwright
from tests.integration.agent.pod import Driver
from tests.integration.agent.site import Site
from tests.integration.agent.steps import interact, navigate, page_title, state, text


async def test_the_sessions_page_in_turns_with_steps(session: Driver, site: Site) -> None:
    async with playwright(session) as browser:
        page = browser.contexts[0].pages[0]
        response = await page.goto(f"{site.base}/field")
        assert response is not None
        assert b"<input id=f" in await response.body()
        await page.fill("#f", "from Playwright")
        assert "input true  f" in await text(session)
        assert (await state(session)).url == page.url

        await navigate(session, f"{site.base}/button")
        await page.click("#b")
        assert "click true mouse b" in await text(session)
        await interact(session, Tap(selector="#b"))
        assert (await page.text_content("#log") or "").count("click true mouse b") == 2
        assert (await page.screenshot(full_page=True)).startswith(b"\x89PNG")
    await navigate(session, f"{site.base}/hello")
    assert await page_title(session) == "Hello"


async def test_pages_and_contexts_of_its_own_come_and_go(session: Driver, site: Site) -> None:
    await navigate(session, f"{site.base}/red")
    async with playwright(session) as browser:
        beside = await browser.contexts[0].new_page()
        await beside.goto(f"{site.base}/hello")
        alone = await (await browser.new_context()).new_page()
        await alone.goto(f"{site.base}/hello")
        assert [await page.title() for page in (beside, alone)] == ["Hello", "Hello"]
        assert (await state(session)).url == f"{site.base}/red", "steps stay where they were"
        await beside.close()
    async with playwright(session) as browser:
        assert [page.url for context in browser.contexts for page in context.pages] == [f"{site.base}/red"]


async def test_two_clients_at_once(session: Driver, site: Site) -> None:
    async with playwright(session) as second:
        async with playwright(session) as first:
            pages = [await (await browser.new_context()).new_page() for browser in (first, second)]
            await pages[0].route("**/hello", lambda route: route.fulfill(body="<title>routed</title>"))
            for page in pages:
                await page.goto(f"{site.base}/hello")
            assert [await page.title() for page in pages] == ["routed", "Hello"]
        await pages[1].reload()
        assert await pages[1].title() == "Hello"


async def test_the_page_in_front_may_be_closed(session: Driver, site: Site) -> None:
    async with playwright(session) as browser:
        await browser.contexts[0].pages[0].close()
        assert (await navigate(session, f"{site.base}/hello")).status == 200
        assert [page.url for page in browser.contexts[0].pages] == [f"{site.base}/hello"]


@pytest.mark.parametrize("selector", ["#popup", "#window"])  # with an opener, and without
async def test_a_window_waits_for_agent_and_client(session: Driver, site: Site, selector: str) -> None:
    async with playwright(session) as browser:
        context = browser.contexts[0]
        await context.add_init_script("window.mark = 'first'")
        await navigate(session, f"{site.base}/asks")
        async with context.expect_page() as coming:
            done = await interact(session, Tap(selector=selector))
        window = await coming.value
        await window.wait_for_load_state()
        assert await window.evaluate("window.mark") == "first"
        assert [notice.outcome for notice in done.notices] == ["front"]
        assert (await state(session)).url == window.url == f"{site.base}/window"
        await window.close()
        assert (await state(session)).url == f"{site.base}/asks"


async def test_a_client_answers_dialogs_between_steps(session: Driver, site: Site) -> None:
    async def accept(dialog: Dialog) -> None:
        await dialog.accept("me")

    await navigate(session, f"{site.base}/asks")
    async with playwright(session) as browser:
        page = browser.contexts[0].pages[0]
        page.on("dialog", accept)
        assert await page.evaluate("[confirm('really?'), prompt('who?')]") == [True, "me"]
        page.remove_listener("dialog", accept)
        assert await page.evaluate("[confirm('really?'), prompt('who?')]") == [False, None]
    assert (await interact(session, Tap(selector="#confirm"))).notices[-1].outcome == "dismissed"


async def test_downloads_are_the_clients_while_it_is_there(session: Driver, site: Site) -> None:
    async with playwright(session) as browser:
        page = browser.contexts[0].pages[0]
        await page.goto(f"{site.base}/asks")
        async with page.expect_download() as coming:
            await page.click("#download")
        assert await (await coming.value).failure() is None
    await navigate(session, f"{site.base}/asks")
    notices = (await interact(session, Tap(selector="#download"))).notices
    while not notices:
        notices = (await interact(session, Tap(selector="#download"))).notices
    assert (notices[0].kind, notices[0].outcome) == ("download", "refused")
