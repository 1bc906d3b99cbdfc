"""The interact step: what a page sees of a person, and what a person waits for."""

from __future__ import annotations

import time

import pytest

from driftstack_common.protocol import ProblemCode
from driftstack_common.protocol_steps import Extraction, Press, Scroll, Tap, Type
from tests.integration.agent.pod import Driver
from tests.integration.agent.site import Site
from tests.integration.agent.steps import extract, interact, interact_fails, navigate, open_page, state, text


async def test_a_tap_is_a_trusted_click(session: Driver, site: Site) -> None:
    await open_page(session, site, "/button")
    done = await interact(session, Tap(selector="#b"))
    seen = (await text(session)).splitlines()
    assert seen == ["pointerdown true mouse b", "mousedown true  b", "mouseup true  b", "click true mouse b"]
    assert done.duration_ms > 0
    assert done.notices == []


@pytest.mark.parametrize(
    ("selector", "before", "typed", "after"),
    [
        ("#f", "abc", "Hé, Wörld! 你好 😀", "abcHé, Wörld! 你好 😀"),
        ("#mail", "a@b", "c.test", "a@bc.test"),
        ("#area", "one", "\r\ntwo\tx", "one\ntwo"),
        ("#rich", "rich", " text", "rich text"),
        ("#label", "", "Ada", None),
        ("#choice", "One", "Thr", "Three"),
        ("#date", "", "12312026", "2026-12-31"),
        ("#secret", "", "s3cret", "s3cret"),
        ("#f", "abc", "", "abc"),
    ],
)
async def test_typing_appends(
    session: Driver, site: Site, selector: str, before: str, typed: str, after: str | None
) -> None:
    await open_page(session, site, "/field")
    if after is not None:
        assert await text(session, selector) == before
    await interact(session, Type(selector=selector, text=typed))
    if selector == "#label":
        assert await text(session, "#named") == typed
    else:
        assert await text(session, selector) == after


async def test_typing_is_key_by_key_and_trusted(session: Driver, site: Site) -> None:
    await open_page(session, site, "/field")
    await interact(session, Type(selector="#f", text="xY"))
    seen = (await text(session)).splitlines()
    assert [line for line in seen if line.startswith("keydown")] == [
        "keydown true x f",
        "keydown true Shift f",
        "keydown true Y f",
    ]
    assert [line.split()[0] for line in seen[:5]] == ["keydown", "keypress", "beforeinput", "input", "keyup"]
    assert not any("false" in line for line in seen)


async def test_the_delay_is_kept(session: Driver, site: Site) -> None:
    await open_page(session, site, "/field")
    fast = await interact(session, Type(selector="#f", text="x" * 20, delay_ms=0))
    slow = await interact(session, Type(selector="#f", text="x" * 20, delay_ms=50))
    assert slow.duration_ms - fast.duration_ms > 700


async def test_ten_thousand_characters_fit_into_a_step(session: Driver, site: Site) -> None:
    await open_page(session, site, "/field")
    long = "All work and no play. " * 454 + "The end."
    assert len(long) <= 10_000
    await interact(session, Type(selector="#area", text=long, delay_ms=0), timeout_ms=60_000)
    assert (await text(session, "#area")).endswith("The end.")


@pytest.mark.parametrize("path", ["/late", "/disabled", "/covered", "/moving", "/hover"])
async def test_waits_until_the_element_can_be_clicked(session: Driver, site: Site, path: str) -> None:
    await open_page(session, site, path)
    await interact(session, Tap(selector="#late" if path == "/late" else "#b"))
    assert (await text(session)).splitlines()[-1].startswith("click true mouse")
    assert "over" not in await text(session)


@pytest.mark.parametrize(
    ("path", "action", "why"),
    [
        ("/button", Tap(selector="#none"), "missing"),
        ("/late", Tap(selector="#log"), "hidden"),
        ("/disabled", Tap(selector="#never"), "disabled"),
        ("/disabled", Tap(selector="#aria"), "disabled"),
        ("/covered-forever", Tap(selector="#b"), "covered"),
        ("/moving-forever", Tap(selector="#b"), "moving"),
        ("/field", Type(selector="#ro", text="x"), "not editable"),
        ("/field", Type(selector="#off", text="x"), "disabled"),
        ("/button", Type(selector="#b", text="x"), "not editable"),
        ("/shadow", Tap(selector="#unseen"), "missing"),
        ("/button", Scroll(selector="#none", delta_y=5), "missing"),
    ],
)
async def test_what_cannot_be_acted_on_is_a_timeout_that_says_why(
    session: Driver, site: Site, path: str, action: Tap | Type | Scroll, why: str
) -> None:
    await open_page(session, site, path)
    started = time.monotonic()
    problem = await interact_fails(session, action, timeout_ms=500)
    assert problem.code is ProblemCode.TIMEOUT
    assert why in problem.message
    assert problem.details == {"timeout_ms": 500}
    assert time.monotonic() - started < 2
    assert (await navigate(session, f"{site.base}/hello")).status == 200


@pytest.mark.parametrize("selector", ["##", "a[", "p:nth-child(", ">>>", "#b >>>", "a:no-such-thing", "a,"])
async def test_a_selector_that_is_none_is_invalid(session: Driver, site: Site, selector: str) -> None:
    await open_page(session, site, "/button")
    problem = await interact_fails(session, Tap(selector=selector))
    assert (problem.code, problem.details) == (ProblemCode.INVALID, {"path": "action.selector"})


async def test_scrolls_to_what_is_out_of_view(session: Driver, site: Site) -> None:
    await open_page(session, site, "/below")
    for selector in ("#inner", "#b", "#inner"):
        await interact(session, Tap(selector=selector))
    seen = (await text(session)).split("\n")
    assert [line.split()[-1] for line in seen] == ["inner", "b", "inner"]


@pytest.mark.parametrize(
    "selector", ["#deep", "#outer >>> #inner >>> button", "x-outer>>>button", "body >>> #deep"]
)
async def test_reaches_into_open_shadow_roots(session: Driver, site: Site, selector: str) -> None:
    await open_page(session, site, "/shadow")
    await interact(session, Tap(selector=selector))
    assert "click true mouse deep" in await text(session)


async def test_types_in_a_shadow_root(session: Driver, site: Site) -> None:
    await open_page(session, site, "/shadow")
    await interact(session, Type(selector="#inner", text="ab"))
    assert "value ab" in await text(session)


async def test_reaches_into_frames(session: Driver, site: Site) -> None:
    await open_page(session, site, "/frames")
    await interact(session, Tap(selector="#b"))
    await interact(session, Tap(selector="iframe:nth-of-type(2) >>> button"))
    await interact(session, Type(selector="#i", text="ab"))
    seen = (await text(session)).splitlines()
    assert [line.strip() for line in seen] == ["clicked true", "clicked true ?small", "typed a", "typed ab"]


async def test_a_page_cannot_hide_its_elements_from_the_agent(session: Driver, site: Site) -> None:
    await open_page(session, site, "/clobbered")
    await interact(session, Tap(selector="#form"))
    await interact(session, Tap(selector="#b"))
    assert "click true mouse b" in await text(session)


async def test_a_page_that_throws_everywhere_is_clicked_all_the_same(session: Driver, site: Site) -> None:
    await open_page(session, site, "/throws")
    await interact(session, Tap(selector="#b"))
    await interact(session, Type(selector="#f", text="ab"))
    assert await text(session, "#f") == "ab"
    assert (await text(session)).strip() == "clicked"


@pytest.mark.parametrize(
    ("key", "events"),
    [
        ("Enter", ["keydown true Enter", "keyup true Enter"]),
        ("a", ["keydown true a", "keyup true a"]),
        ("A", ["keydown true Shift", "keydown true A", "keyup true A", "keyup true Shift"]),
        ("Esc", ["keydown true Escape", "keyup true Escape"]),
        ("ctrl+shift+ArrowLeft", None),
        ("+", None),
        ("Control++", None),
        ("F12", ["keydown true F12", "keyup true F12"]),
        ("é", None),
    ],
)
async def test_press(session: Driver, site: Site, key: str, events: list[str] | None) -> None:
    await open_page(session, site, "/keys")
    if key == "é":
        problem = await interact_fails(session, Press(key=key))
        assert (problem.code, problem.details) == (ProblemCode.INVALID, {"path": "action.key"})
        return
    await interact(session, Press(key=key))
    seen = [line.strip() for line in (await text(session)).splitlines()]
    assert seen if events is None else seen == events


async def test_keys_edit(session: Driver, site: Site) -> None:
    await open_page(session, site, "/field")
    await interact(session, Type(selector="#f", text="def"))
    await interact(session, Press(key="Control+A"))
    await interact(session, Press(key="Delete"))
    await interact(session, Type(selector="#f", text="new"))
    await interact(session, Press(key="Backspace"))
    assert await text(session, "#f") == "ne"


async def test_scroll(session: Driver, site: Site) -> None:
    await open_page(session, site, "/scrolls")
    await interact(session, Scroll(selector="#box", delta_x=200, delta_y=450))
    await interact(session, Scroll(delta_y=1200))
    assert (await state(session)).title == "[1200,450,200]"
    await interact(session, Scroll(delta_y=-100_000))
    assert (await state(session)).title == "[0,450,200]"


async def test_a_click_may_leave_the_page(session: Driver, site: Site) -> None:
    for selector in ("#down", "#link"):
        await open_page(session, site, "/leaves")
        await interact(session, Tap(selector=selector), timeout_ms=5000)
        await interact(session, Tap(selector="h1"), timeout_ms=5000)
        assert (await state(session)).url == f"{site.base}/hello"


async def test_a_page_stuck_in_its_handler_times_out_and_is_left(session: Driver, site: Site) -> None:
    await open_page(session, site, "/stuck-button")
    problem = await interact_fails(session, Tap(selector="#b"), timeout_ms=700)
    assert problem.code is ProblemCode.TIMEOUT
    assert (await navigate(session, f"{site.base}/hello", timeout_ms=8000)).status == 200


async def test_sensitive_text_is_in_no_log(session: Driver, site: Site) -> None:
    await open_page(session, site, "/field")
    await interact(session, Type(selector="#secret", text="hunter2-secret", sensitive=True))
    await interact_fails(session, Type(selector="#ro", text="hunter2-secret", sensitive=True), timeout_ms=200)
    assert "hunter2" not in session.pod.log.read_text()
    found = await extract(session, Extraction(name="v", selector="#secret", type="text"))
    assert found == {"v": "hunter2-secret"}
