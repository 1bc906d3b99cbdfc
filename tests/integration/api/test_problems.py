"""No answer but problem+json leaves the facade when something is wrong, whatever it is."""

from __future__ import annotations

import json
from typing import Any

import httpx2
import pytest

from driftstack_common.kube.errors import Forbidden
from driftstack_common.kube.errors import Unreachable as Away
from tests.integration.api.world import Facade, World, facade
from tests.unit.api.polling import until

MIB = 1024 * 1024


def check(answer: httpx2.Response, status: int, slug: str) -> dict[str, Any]:
    """Assert that an answer is this problem, whole and well-formed; return it."""
    assert answer.status_code == status, answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"
    problem: dict[str, Any] = answer.json()
    assert problem["type"] == f"https://errors.driftstack.dev/{slug}"
    assert problem["status"] == status
    assert problem["title"]
    assert problem["detail"]
    assert problem["instance"] == answer.headers["X-Request-Id"]
    return problem


@pytest.mark.parametrize("path", ["/", "/v1", "/v1/nothing", "/v1/sessions/", "/v2/sessions", "/docs/x"])
async def test_unknown_routes(api: Facade, path: str) -> None:
    check(await api.call("GET", path), 404, "not-found")


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", "/v1/sessions", "GET, POST"),
        ("PATCH", "/v1/sessions/ses_x", "GET, DELETE"),
        ("GET", "/v1/sessions/ses_x/navigate", "POST"),
        ("DELETE", "/v1/whoami", "GET"),
        ("POST", "/healthz", "GET"),
        ("BREW", "/v1/sessions", "GET, POST"),
    ],
)
async def test_wrong_methods_name_the_right_ones(api: Facade, method: str, path: str, allowed: str) -> None:
    answer = await api.call(method, path)
    check(answer, 405, "bad-request")
    assert answer.headers["Allow"] == allowed


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"nonsense",
        b'{"url": "about:blank"} x',
        b'{"url": "caf\xe9"}',
        '{"url": "about:blank"}'.encode("utf-16"),
        b'{"url": "\\ud800"}',
        b"[" * 100_000,
    ],
)
async def test_what_is_no_json(api: Facade, body: bytes) -> None:
    answer = await api.call("POST", "/v1/sessions/ses_x/navigate", content=body)
    check(answer, 400, "bad-request")


@pytest.mark.parametrize("number", ["NaN", "Infinity", "1e999"])
async def test_numbers_that_json_does_not_have(api: Facade, number: str) -> None:
    answer = await api.call("POST", "/v1/sessions", content=f'{{"metadata": {{"a": {number}}}}}')
    problem = check(answer, 400, "validation-failed")
    assert problem["issues"][0]["path"] == "metadata"


async def test_metadata_nested_too_deep(api: Facade) -> None:
    deep = '{"a":' * 1000 + "1" + "}" * 1000
    check(await api.call("POST", "/v1/sessions", content=f'{{"metadata": {deep}}}'), 400, "bad-request")


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({"url": "/relative"}, "url"),
        ({"url": "file:///etc/passwd"}, "url"),
        ({"url": "javascript:alert(1)"}, "url"),
        ({"url": "data:text/html,x"}, "url"),
        ({"url": "about:config"}, "url"),
        ({"url": "http://"}, "url"),
        ({"url": "http://[::1"}, "url"),
        ({"url": "http://a:99999/"}, "url"),
        ({"url": "http://a b/"}, "url"),
        ({"url": "http://a/" + "x" * 65536}, "url"),
        ({"url": ""}, "url"),
        ({"url": None}, "url"),
        ({}, "url"),
        ({"url": "http://a", "timeout_ms": 999}, "timeout_ms"),
        ({"url": "http://a", "timeout_ms": 120001}, "timeout_ms"),
        ({"url": "http://a", "timeout_ms": "5000"}, "timeout_ms"),
        ({"url": "http://a", "timeout_ms": 5000.5}, "timeout_ms"),
        ({"url": "http://a", "timeout_ms": 1e300}, "timeout_ms"),
        ({"url": "http://a", "timeout_ms": True}, "timeout_ms"),
        ({"url": "http://a", "wait_until": "later"}, "wait_until"),
        ({"url": "http://a", "more": 1}, "more"),
    ],
)
async def test_wrong_navigations(api: Facade, body: dict[str, Any], path: str) -> None:
    problem = check(await api.call("POST", "/v1/sessions/ses_x/navigate", json=body), 400, "validation-failed")
    assert [issue["path"] for issue in problem["issues"]] == [path]


@pytest.mark.parametrize("body", [{}, {"kind": "jpeg"}, {"kind": "pdf", "full_page": 1}, {"kind": "pdf", "x": 1}])
async def test_wrong_captures(api: Facade, body: dict[str, Any]) -> None:
    check(await api.call("POST", "/v1/sessions/ses_x/capture", json=body), 400, "validation-failed")


async def test_bodies_over_1_mib(api: Facade) -> None:
    whole = await api.call("POST", "/v1/sessions", content=b"x" * (MIB + 1))
    problem = check(whole, 413, "payload-too-large")
    assert (problem["limit_bytes"], problem["size_bytes"]) == (MIB, MIB + 1)

    async def chunks() -> Any:
        for _ in range(40):
            yield b"x" * 65536

    assert check(await api.call("POST", "/v1/sessions", content=chunks()), 413, "payload-too-large")
    exactly = json.dumps({"label": "x"}).encode().ljust(MIB)
    assert (await api.call("POST", "/v1/sessions", content=exactly)).status_code == 201


async def test_strangers_bodies_are_not_looked_at(api: Facade) -> None:
    for body in (b"x" * (MIB + 1), b"{"):
        check(await api.call("POST", "/v1/sessions", key=None, content=body), 401, "unauthorized")


async def test_a_crash_tells_nothing(api: Facade, monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(*_: Any) -> Any:
        raise RuntimeError("the secret is swordfish")

    monkeypatch.setattr("driftstack_api.sessions.service.Sessions.list_page", crash)
    answer = await api.call("GET", "/v1/sessions")
    check(answer, 500, "internal")
    assert "swordfish" not in answer.text
    assert answer.headers["Cache-Control"] == "no-store, private"


async def test_our_own_missing_rights_tell_nothing(api: Facade, world: World) -> None:
    world.kube.fail("create", Forbidden("User driftstack-facade cannot create", status=403))
    answer = await api.call("POST", "/v1/sessions")
    check(answer, 503, "feature-unavailable")
    assert "driftstack-facade" not in answer.text


async def test_every_answer_has_its_id_and_is_not_cached(api: Facade) -> None:
    for path in ("/v1/sessions", "/v1/nothing", "/v1/whoami"):
        answer = await api.call("GET", path)
        assert answer.headers["X-Request-Id"].startswith("req_")
        assert answer.headers["Cache-Control"] == "no-store, private"
    given = await api.call("GET", "/healthz", headers={"X-Request-Id": "mine-1.2"})
    assert given.headers["X-Request-Id"] == "mine-1.2"
    assert "Cache-Control" not in given.headers
    for odd in ("x" * 129, "a b", "<script>"):
        answer = await api.call("GET", "/healthz", headers={"X-Request-Id": odd})
        assert answer.headers["X-Request-Id"].startswith("req_")


async def test_types_begin_with_what_is_set(world: World) -> None:
    async with facade(world, problem_type_base="https://errors.example.com/") as api:
        answer = await api.call("GET", "/nothing")
        assert answer.json()["type"] == "https://errors.example.com/not-found"


async def test_probes(api: Facade, world: World) -> None:
    assert (await api.call("GET", "/healthz", key=None)).json() == {"status": "ok"}
    assert (await api.call("GET", "/readyz", key=None)).json() == {"status": "ok"}


async def test_readiness_fails_when_the_watches_are_silent(world: World) -> None:
    async with facade(world, fresh_seconds=0.3) as api:
        for method in ("list", "watch"):
            world.kube.fail(method, Away("away"))
        world.kube.cut()
        caches = api.app.state.services.caches
        await until(lambda: list(caches.stale()))
        problem = check(await api.call("GET", "/readyz", key=None), 503, "feature-unavailable")
        assert "browsersessions" in problem["detail"]
        assert (await api.call("GET", "/healthz", key=None)).status_code == 200
        world.kube.failures.clear()
        await until(lambda: not list(caches.stale()))


async def test_docs_are_public(api: Facade) -> None:
    assert (await api.call("GET", "/docs", key=None)).headers["Content-Type"].startswith("text/html")
    schema = (await api.call("GET", "/openapi.json", key=None)).json()
    assert schema == api.app.openapi()
