"""What the command makes of answers that a facade gives seldom, and of those that are no facade's."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

from tests.integration.cli.background import Background
from tests.integration.cli.conftest import Command

SESSION = {
    "id": "ses_1",
    "status": "ready",
    "archetype": "default",
    "label": None,
    "metadata": None,
    "api_key_id": "key_1",
    "created_at": "2026-05-12T12:00:00.000Z",
    "last_state_at": None,
    "destroyed_at": None,
}


class Stub:
    """Gives the answers of `script`, the last one again and again; `seen` are the requests."""

    def __init__(self) -> None:
        self.script: list[tuple[int, Any, dict[str, str]]] = []
        self.seen: list[tuple[str, str]] = []

    def says(self, status: int, body: Any, **headers: str) -> None:
        self.script.append((status, body, {name.replace("_", "-"): value for name, value in headers.items()}))

    async def answer(self, request: web.Request) -> web.Response:
        self.seen.append((request.method, request.raw_path))
        status, body, headers = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        if isinstance(body, str):
            return web.Response(status=status, text=body, headers=headers, content_type="text/html")
        if body is None:
            return web.Response(status=status, headers=headers)
        return web.json_response(body, status=status, headers=headers)


def problem(slug: str, **more: Any) -> dict[str, Any]:
    return {
        "type": f"https://errors.driftstack.dev/{slug}",
        "title": slug.capitalize(),
        "detail": "It is so.",
        "instance": "req_1",
        **more,
    }


@asynccontextmanager
async def served(stub: Stub) -> AsyncIterator[str]:
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", stub.answer)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield "http://{}:{}".format(*runner.addresses[0][:2])
    finally:
        await runner.cleanup()


@pytest.fixture
def stub(background: Background, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stub]:
    made = Stub()
    with background.entered(served(made)) as url:
        monkeypatch.setenv("DRIFTSTACK_URL", f"{url}/")
        monkeypatch.setenv("DRIFTSTACK_API_KEY", "ds_live_x")
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        yield made


def test_open_prints_the_url_alone(stub: Stub, driftstack: Command) -> None:
    answer = {"connect_url": "ws://a.test/v1/sessions/ses_1/cdp?token=t", "expires_at": "2026-05-12T12:01:00.000Z"}
    stub.says(200, answer)
    done = driftstack("session", "open", "ses_1")
    assert (done.code, done.out) == (0, f"{answer['connect_url']}\n")
    assert answer["expires_at"] in done.err
    assert stub.seen == [("POST", "/v1/sessions/ses_1/connect")]
    assert driftstack("session", "open", "ses_1", "-o", "json").json() == answer


@pytest.mark.parametrize(
    ("status", "slug", "code", "told"),
    [
        (400, "bad-request", 2, "It is so."),
        (401, "expired-key", 4, "driftstack key create"),
        (403, "forbidden", 4, "driftstack account show"),
        (404, "not-found", 3, "driftstack session list"),
        (409, "conflict", 7, "It is so."),
        (410, "session-destroyed", 7, "driftstack session create"),
        (413, "payload-too-large", 5, "It is so."),
        (429, "rate-limited", 5, "It is so."),
        (500, "internal", 1, "req_1"),
        (502, "driver-error", 1, "It is so."),
        (503, "feature-unavailable", 8, "It is so."),
        (504, "session-timeout", 6, "It is so."),
    ],
)
def test_problems(stub: Stub, driftstack: Command, status: int, slug: str, code: int, told: str) -> None:
    stub.says(status, problem(slug))
    done = driftstack("session", "navigate", "ses_1", "http://a.test/")
    assert (done.code, done.out) == (code, "")
    assert told in done.err
    assert "ds_live_x" not in done.err


def test_issues_and_when_to_come_back(stub: Stub, driftstack: Command) -> None:
    stub.says(429, problem("rate-limited", issues=[{"path": "label", "message": "too long"}]), Retry_After="7")
    done = driftstack("session", "create")
    assert "  label: too long" in done.err
    assert "Try again in 7 s." in done.err


@pytest.mark.parametrize(
    ("status", "body", "headers", "told"),
    [
        (200, "<html>", {}, "no Driftstack REST API (200, text/html"),
        (502, "<html>", {}, "no Driftstack REST API (502, text/html"),
        (404, {"message": "no route"}, {}, "no Driftstack REST API (404, application/json"),
        (403, ["a", "list"], {}, "no Driftstack REST API (403"),
        (308, "", {"Location": "https://a.test/v1"}, "https://a.test/v1"),
    ],
)
def test_strangers(
    stub: Stub, driftstack: Command, status: int, body: Any, headers: dict[str, str], told: str
) -> None:
    stub.says(status, body, **headers)
    done = driftstack("session", "list")
    assert done.code == 8
    assert told in done.err


def test_waits_and_deletes_go_on_after_an_outage(stub: Stub, driftstack: Command) -> None:
    stub.says(503, problem("feature-unavailable"), Retry_After="1")
    stub.says(200, SESSION)
    assert driftstack("session", "wait", "ses_1").code == 0
    stub.script.clear()
    stub.says(503, problem("feature-unavailable"), Retry_After="1")
    stub.says(204, None)
    assert driftstack("session", "delete", "ses_1").code == 0
    assert [method for method, _ in stub.seen] == ["GET", "GET", "DELETE", "DELETE"]


def test_an_outage_that_lasts_ends_a_delete(stub: Stub, driftstack: Command) -> None:
    stub.says(503, problem("feature-unavailable"), Retry_After="60")
    assert driftstack("session", "delete", "ses_1", "--timeout", "30s").code == 8


def test_ids_stay_one_segment(stub: Stub, driftstack: Command) -> None:
    stub.says(404, problem("not-found"))
    driftstack("session", "show", "a/../b?c#d")
    assert stub.seen == [("GET", "/v1/sessions/a%2F..%2Fb%3Fc%23d")]


def test_lines_of_others_are_made_harmless(stub: Stub, driftstack: Command) -> None:
    stub.says(200, {"data": [{**SESSION, "label": "\x1b[2Jevil\nline"}], "has_more": False, "next_cursor": None})
    shown = driftstack("session", "list").out
    assert "\x1b" not in shown
    assert len(shown.splitlines()) == 2
