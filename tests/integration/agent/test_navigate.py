"""The navigate step against a real site."""

from __future__ import annotations

import asyncio
import json
import re
import time
from ipaddress import IPv6Address
from urllib.parse import quote

import pytest

from driftstack_agent.errors import StepError
from driftstack_agent.urls import check_url
from driftstack_common.hosts import canonical_host
from driftstack_common.protocol import ProblemCode
from tests.integration.agent.pod import SESSION, Driver
from tests.integration.agent.site import Site
from tests.integration.agent.steps import navigate, navigate_fails, page_title
from tests.unit.agent.urls_table import NO_URL, OF_THE_POD, TAKEN


@pytest.mark.parametrize(
    ("path", "status", "final"),
    [
        ("/hello", 200, "/hello"),
        ("/hello?a=1#part", 200, "/hello?a=1#part"),
        ("/404", 404, "/404"),
        ("/404-empty", 404, "/404-empty"),
        ("/500", 500, "/500"),
        ("/redirect", 200, "/hello?from=server"),
        ("/client-redirect", 200, "/hello?from=script"),
    ],
)
async def test_tells_the_main_documents_status(
    session: Driver, site: Site, path: str, status: int, final: str
) -> None:
    done = await navigate(session, site.base + path)
    assert (done.url, done.status, done.final_url) == (site.base + path, status, site.base + final)
    assert done.duration_ms >= 0


async def test_about_blank_is_200(session: Driver) -> None:
    done = await navigate(session, "about:blank")
    assert (done.status, done.final_url) == (200, "about:blank")


async def test_a_fragment_keeps_the_documents_status(session: Driver, site: Site) -> None:
    await navigate(session, f"{site.base}/404")
    asked = len(site.requests)
    done = await navigate(session, f"{site.base}/404#part")
    assert (done.status, done.final_url) == (404, f"{site.base}/404#part")
    assert len(site.requests) == asked


async def test_a_page_from_the_cache_has_its_status(session: Driver, site: Site) -> None:
    for _ in range(2):
        await navigate(session, "about:blank")
        assert (await navigate(session, f"{site.base}/cached")).status == 200
    assert [path for path, _ in site.requests].count("/cached") == 1


async def test_wait_until_means_what_it_says(session: Driver, site: Site) -> None:
    early = await navigate(session, f"{site.base}/slow-image", wait_until="domcontentloaded")
    assert early.duration_ms < 700
    late = await navigate(session, f"{site.base}/slow-image", wait_until="load")
    assert late.duration_ms >= 800


async def test_networkidle_waits_for_requests_after_load(session: Driver, site: Site) -> None:
    done = await navigate(session, f"{site.base}/fetches", wait_until="networkidle")
    # Three times 0.2 s of pause and 0.2 s of request, then half a second of nothing.
    assert 1600 <= done.duration_ms < 5000


async def test_networkidle_does_not_wait_for_an_event_stream(session: Driver, site: Site) -> None:
    done = await navigate(session, f"{site.base}/stream", wait_until="networkidle", timeout_ms=5000)
    assert done.duration_ms >= 500


@pytest.mark.parametrize(
    ("url", "error"),
    [
        ("http://no-such-host.test/secret-path?secret-query", "net::ERR_"),
        ("{site}/204", "no content"),
        ("{site}/download", "downloads are refused"),
        ("{site}/broken", "net::ERR_EMPTY_RESPONSE"),
        ("{site}/redirect-forever", "net::ERR_TOO_MANY_REDIRECTS"),
        ("{site}/redirect-to-loopback", "net::ERR_NAME_NOT_RESOLVED"),
        ("{site}/client-redirect-dead", "net::ERR_NAME_NOT_RESOLVED"),
        ("https://{host}/", "net::ERR_SSL_PROTOCOL_ERROR"),
        ("http://{gateway}:4444/", "net::ERR_CONNECTION_REFUSED"),
    ],
)
async def test_a_failed_load_names_chromiums_error(session: Driver, site: Site, url: str, error: str) -> None:
    host = site.base.removeprefix("http://")
    problem = await navigate_fails(session, url.format(site=site.base, host=host, gateway=host.partition(":")[0]))
    assert problem.code is ProblemCode.PAGE_FAILED
    assert error in problem.message
    assert "secret-query" not in problem.message
    assert (await navigate(session, f"{site.base}/hello")).status == 200


async def test_a_user_and_password_in_a_url_reach_the_site(session: Driver, site: Site) -> None:
    assert (await navigate(session, f"{site.base.replace('://', '://user:hunter2@')}/auth")).status == 401
    given = [headers.get("authorization") for path, headers in site.requests if path == "/auth"]
    assert given[-1] == "Basic dXNlcjpodW50ZXIy"


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:8300/",
        "http://0x7f.1/",
        "http://LOCALHOST./",
        "http://[::1]/",
        "http://user:password@{pod}:8300/",
        "file:///etc/passwd",
        "javascript:alert(1)",
        "chrome://version",
        "view-source:http://example.com/",
    ],
)
async def test_refuses_the_pod_itself_and_other_schemes(session: Driver, url: str) -> None:
    problem = await navigate_fails(session, url.format(pod=session.pod.address.partition(":")[0]))
    assert problem.code is ProblemCode.INVALID
    assert "password" not in problem.message


async def test_what_chromium_takes_for_no_url_is_invalid(session: Driver) -> None:
    problem = await navigate_fails(session, "http://user:password@example.com:99999/")
    assert problem.code is ProblemCode.INVALID
    assert "password" not in problem.message


async def test_hosts_are_read_as_chromium_reads_them(session: Driver, site: Site) -> None:
    urls = [url for url in (*TAKEN, *OF_THE_POD, *NO_URL) if len(url) < 100]
    await navigate(session, "about:blank")
    await navigate(session, f"{site.base}/hosts#{quote(json.dumps(urls))}")
    chromiums = json.loads(await page_title(session))
    assert len(chromiums) == len(urls)
    for url, chromiums_host in zip(urls, chromiums, strict=True):
        # What we refuse to read can't get past us, so only what we read must agree.
        if our_host := host_of(url):
            ascii_host = our_host if our_host.isascii() else our_host.encode("idna").decode()
            assert chromiums_host is not None, url
            assert chromiums_host.partition(":")[2].rstrip(".") == ascii_host, url


def host_of(url: str) -> str | None:
    """Return the host our reader takes from a URL, None when it refuses it as none to browse."""
    try:
        check_url(url, (), "")
    except StepError as error:
        if "own pod" not in str(error):
            return None
    authority = re.sub(r"^[\0\s]*https?:[/\\]*", "", re.sub(r"[\t\n\r]", "", url), flags=re.IGNORECASE)
    host = canonical_host(re.split(r"[/\\?#]", authority)[0])
    return f"[{host}]" if isinstance(host, IPv6Address) else str(host)


async def test_a_client_that_goes_away_ends_its_step(session: Driver, site: Site) -> None:
    async def running() -> str | None:
        return (await session.client.activity(session.pod.address, session.pod.token, SESSION)).step

    async def step_is(name: str | None) -> None:
        async with asyncio.timeout(3):
            while await running() != name:  # noqa: ASYNC110 - another process has no event to wait for
                await asyncio.sleep(0.01)

    left = asyncio.create_task(navigate(session, f"{site.base}/slow?seconds=20"))
    await step_is("navigate")
    left.cancel()
    await step_is(None)
    assert (await navigate(session, f"{site.base}/hello", timeout_ms=5000)).status == 200


async def test_a_timeout_leaves_the_page_usable(session: Driver, site: Site) -> None:
    started = time.monotonic()
    problem = await navigate_fails(session, f"{site.base}/slow?seconds=5", timeout_ms=300)
    assert problem.code is ProblemCode.TIMEOUT
    assert problem.details["timeout_ms"] == 300
    assert time.monotonic() - started < 1.5
    assert (await navigate(session, f"{site.base}/hello")).status == 200


async def test_a_page_stuck_in_a_script_is_replaced_by_the_next_navigate(session: Driver, site: Site) -> None:
    await navigate(session, f"{site.base}/loop")
    problem = await navigate_fails(session, f"{site.base}/loop#again", timeout_ms=500)
    assert problem.code is ProblemCode.TIMEOUT
    done = await navigate(session, f"{site.base}/hello", timeout_ms=8000)
    assert done.status == 200


@pytest.mark.parametrize(("path", "title"), [("/dialogs", "false,"), ("/popup", "opener"), ("/leave", "leave")])
async def test_dialogs_and_popups_hold_nothing_up(session: Driver, site: Site, path: str, title: str) -> None:
    await navigate(session, site.base + path, timeout_ms=5000)
    assert await page_title(session) == title
    assert (await navigate(session, f"{site.base}/hello", timeout_ms=5000)).status == 200


async def test_a_flood_of_events_is_followed(session: Driver, site: Site) -> None:
    done = await navigate(session, f"{site.base}/hammer", wait_until="networkidle", timeout_ms=30_000)
    assert done.status == 200
    assert (await navigate(session, f"{site.base}/hello")).status == 200
