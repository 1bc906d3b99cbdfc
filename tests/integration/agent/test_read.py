"""The wait, extract and state steps."""

from __future__ import annotations

import time

import pytest

from driftstack_agent.framing import MESSAGE_LIMIT
from driftstack_common.agent_client import AgentProblem
from driftstack_common.protocol import DOCUMENT_LIMIT, ProblemCode
from driftstack_common.protocol_steps import (
    Cookie,
    Elapsed,
    Extraction,
    Field,
    LoadError,
    Loading,
    SelectorHidden,
    SelectorShown,
    Tap,
    UrlMatches,
)
from tests.integration.agent.pod import PSS_LIMIT, Driver
from tests.integration.agent.site import Site
from tests.integration.agent.steps import (
    capture_fails,
    extract,
    interact,
    leave,
    navigate,
    navigate_fails,
    open_page,
    state,
    text,
    wait,
)


def get(name: str, selector: str, kind: str = "text", **more: object) -> Extraction:
    return Extraction(name=name, selector=selector, type=kind, **more)  # type: ignore[arg-type] # any of its fields


@pytest.mark.parametrize(
    ("condition", "least", "most"),
    [
        (SelectorShown(selector="#p"), 200, 3000),
        (SelectorHidden(selector="#p"), 0, 300),
        (SelectorHidden(selector="#none"), 0, 300),
        (UrlMatches(pattern=r"/appears\?step=\d#x$"), 200, 3000),
        (UrlMatches(pattern="^http://[^/]+/appears$"), 0, 300),
        (Elapsed(ms=150), 140, 1500),
        (Elapsed(ms=0), 0, 100),
    ],
)
async def test_waits_until_it_is_so(
    session: Driver,
    site: Site,
    condition: SelectorShown | SelectorHidden | UrlMatches | Elapsed,
    least: int,
    most: int,
) -> None:
    await open_page(session, site, "/appears")
    done = await wait(session, condition)
    assert done.satisfied
    assert least <= done.duration_ms <= most


async def test_waits_until_it_is_gone(session: Driver, site: Site) -> None:
    await open_page(session, site, "/appears")
    assert (await wait(session, SelectorShown(selector="#p"))).satisfied
    assert (await wait(session, SelectorHidden(selector="#p"))).satisfied
    assert not (await wait(session, SelectorShown(selector="#p"), timeout_ms=200)).satisfied


@pytest.mark.parametrize(
    "condition",
    [
        SelectorShown(selector="#never"),
        SelectorShown(selector="title"),
        SelectorHidden(selector="h1"),
        UrlMatches(pattern="^never"),
        Elapsed(ms=60_000),
    ],
)
async def test_what_is_not_so_in_time_is_an_answer(
    session: Driver, site: Site, condition: SelectorShown | SelectorHidden | UrlMatches | Elapsed
) -> None:
    await open_page(session, site, "/hello")
    started = time.monotonic()
    done = await wait(session, condition, timeout_ms=400)
    assert not done.satisfied
    assert done.duration_ms >= 390
    assert time.monotonic() - started < 1.5


async def test_waiting_on_a_stuck_page_ends_in_its_time(session: Driver, site: Site) -> None:
    await open_page(session, site, "/loop")
    for condition in (SelectorShown(selector="#x"), UrlMatches(pattern="never")):
        done = await wait(session, condition, timeout_ms=300)
        assert not done.satisfied
    assert (await navigate(session, f"{site.base}/hello", timeout_ms=8000)).status == 200


@pytest.mark.parametrize(
    ("condition", "path", "words"),
    [
        (SelectorShown(selector="##"), "condition.selector", "not a valid CSS selector"),
        (SelectorHidden(selector="a["), "condition.selector", "not a valid CSS selector"),
        (UrlMatches(pattern="a("), "condition.pattern", "not a valid regular expression"),
        (UrlMatches(pattern=r"^(\w+|[^x])+$x"), "condition.pattern", "too long"),
    ],
)
async def test_what_cannot_be_waited_for_is_invalid(
    session: Driver, site: Site, condition: SelectorShown | UrlMatches, path: str, words: str
) -> None:
    await open_page(session, site, "/hello?" + "a" * 60)
    started = time.monotonic()
    with pytest.raises(AgentProblem) as caught:
        await wait(session, condition)
    assert (caught.value.code, caught.value.details) == (ProblemCode.INVALID, {"path": path})
    assert words in caught.value.message
    assert time.monotonic() - started < 2
    assert await text(session, "h1") == "Hello"


async def test_extracts_texts_attributes_and_numbers(session: Driver, site: Site) -> None:
    await open_page(session, site, "/data")
    value = await extract(
        session,
        get("title", "h1"),
        get("price", ".price", transform="number"),
        get("href", "#link", "attribute", attribute="href"),
        get("none", "#none"),
        get("no attribute", "#link", "attribute", attribute="data-x"),
        get("hidden", "#hidden"),
        get("typed", "#f"),
        get("page", "title"),
        get("no number", "h1", transform="number"),
    )
    assert value == {
        "title": "Title with bold",
        "price": 1234.5,
        "href": "/x?y=1",
        "none": None,
        "no attribute": None,
        "hidden": "hidden text",
        "typed": "typed",
        "page": "form",
        "no number": None,
    }


async def test_extracts_lists(session: Driver, site: Site) -> None:
    await open_page(session, site, "/data")
    fields = {
        "name": Field(type="text", selector="span"),
        "rate": Field(type="text", selector="i"),
        "n": Field(type="attribute", attribute="data-n"),
        "all": Field(type="text"),
    }
    value = await extract(
        session,
        get("names", "li span", "list"),
        get("ns", "li", "list", attribute="data-n", transform="number"),
        get("items", "li", "list", extract=fields),
        get("empty", "#none", "list"),
    )
    assert value == {
        "names": ["One", "Two"],
        "ns": [1, 2],
        "items": [
            {"name": "One", "rate": "1.5", "n": "1", "all": "One1.5"},
            {"name": "Two", "rate": None, "n": "2", "all": "Two"},
        ],
        "empty": [],
    }


async def test_extracts_from_shadow_roots_and_frames(session: Driver, site: Site) -> None:
    await open_page(session, site, "/shadow")
    found = await extract(session, get("outer", ".text"), get("deep", "#outer >>> #inner >>> button"))
    assert found == {"outer": "outer text", "deep": "Deep"}
    await open_page(session, site, "/frames")
    assert await extract(session, get("all", "button", "list")) == {"all": ["In frame", "In frame"]}


@pytest.mark.parametrize(
    ("extraction", "path"),
    [
        (get("x", "##"), "extractions.1.selector"),
        (get("x", "li", "list", extract={"a": Field(type="text", selector="[")}), "extractions.1.selector"),
    ],
)
async def test_a_selector_that_is_none_is_named(
    session: Driver, site: Site, extraction: Extraction, path: str
) -> None:
    await open_page(session, site, "/data")
    with pytest.raises(AgentProblem) as caught:
        await extract(session, get("ok", "h1"), extraction)
    assert (caught.value.code, caught.value.details) == (ProblemCode.INVALID, {"path": path})


async def test_values_over_the_limit_are_too_large(session: Driver, site: Site) -> None:
    await open_page(session, site, "/lorem")
    with pytest.raises(AgentProblem) as caught:
        await extract(session, get("much", "p"))
    assert caught.value.code is ProblemCode.TOO_LARGE
    assert caught.value.details["limit_bytes"] == DOCUMENT_LIMIT < caught.value.details["size_bytes"]


@pytest.mark.parametrize(("path", "heading"), [("/reloads", "Reloads"), ("/refreshes", "Here")])
async def test_a_page_that_reloads_all_the_time_is_read(
    session: Driver, site: Site, path: str, heading: str
) -> None:
    await open_page(session, site, path)
    for _ in range(10):
        assert await text(session, "h1") == heading
        found = await state(session)
        assert (found.url, found.title) == (site.base + path, path[1:])
        assert not (await wait(session, SelectorHidden(selector="h1"), timeout_ms=200)).satisfied
    await interact(session, Tap(selector="h1"), timeout_ms=20_000)
    await leave(session, site)


async def test_state(session: Driver, site: Site) -> None:
    await open_page(session, site, "/data#part")
    found = await state(session)
    assert (found.url, found.title) == (f"{site.base}/data#part", "form")
    assert found.local_storage == {"k": "vé"}
    cookie = Cookie(
        name="a", value="b", domain=site.base.split("/")[2].split(":")[0], path="/", expires=None,
        http_only=False, secure=False, same_site=None,
    )  # fmt: skip
    assert cookie in found.cookies
    assert found.page_state == Loading(state="loaded")
    assert found.captured_at.endswith("Z")


@pytest.mark.parametrize(
    ("url", "error"),
    [
        ("{site}/404", LoadError(kind="http", message="HTTP 404", http_status=404)),
        ("http://no-such-host.test/", LoadError(kind="dns", message="net::ERR_NAME_NOT_RESOLVED")),
        ("https://{host}/", LoadError(kind="tls", message="net::ERR_SSL_PROTOCOL_ERROR")),
        ("{site}/broken", LoadError(kind="net", message="net::ERR_EMPTY_RESPONSE")),
    ],
)
async def test_state_of_a_page_that_failed(session: Driver, site: Site, url: str, error: LoadError) -> None:
    url = url.format(site=site.base, host=site.base.removeprefix("http://"))
    if error.kind == "http":
        await navigate(session, url)
    else:
        await navigate_fails(session, url)
    found = await state(session)
    assert found.url == url
    assert found.page_state.state == "errored"
    assert found.page_state.error is not None
    assert (found.page_state.error.kind, found.page_state.error.http_status) == (error.kind, error.http_status)


async def test_state_of_a_page_that_still_loads(session: Driver, site: Site) -> None:
    await navigate(session, f"{site.base}/slow-image", wait_until="domcontentloaded")
    assert (await state(session)).page_state == Loading(state="loading")


async def test_state_of_no_page(session: Driver) -> None:
    await navigate(session, "about:blank")
    found = await state(session)
    assert (found.url, found.title, found.local_storage) == ("about:blank", "", {})
    assert found.page_state == Loading(state="loaded")


async def test_a_page_of_50_mb(session: Driver, site: Site) -> None:
    assert (await navigate(session, f"{site.base}/megabytes", timeout_ms=60_000)).status == 200
    found = await extract(session, get("title", "title"), get("first", "p"), timeout_ms=60_000)
    assert found == {"title": "big", "first": "some text"}
    await interact(session, Tap(selector="p:nth-child(3)"), timeout_ms=60_000)
    assert (await state(session)).title == "big"
    assert (await capture_fails(session, "dom_snapshot", timeout_ms=60_000)).code is ProblemCode.TOO_LARGE
    assert session.pod.pss() < PSS_LIMIT + MESSAGE_LIMIT, "what is too large is dropped as it comes"
    assert (await navigate(session, f"{site.base}/hello")).status == 200
