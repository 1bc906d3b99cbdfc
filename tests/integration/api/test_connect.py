"""Who gets through the DevTools door, and what those are told who don't."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any
from urllib.parse import quote

import httpx2
import pytest
from aiohttp import web

from driftstack_common.agent_token import KeyRing
from driftstack_common.times import now, parse_time
from tests.integration.api.door import HANDSHAKE, Door, opened
from tests.integration.api.test_auth import known
from tests.integration.api.test_problems import check as check_problem
from tests.integration.api.world import World
from tests.unit.api.polling import until


def check(answer: httpx2.Response, status: int, slug: str) -> dict[str, Any]:
    """Assert that a handshake was refused with this problem, by an ordinary answer."""
    assert "Sec-WebSocket-Accept" not in answer.headers
    assert answer.headers["Cache-Control"] == "no-store, private"
    return check_problem(answer, status, slug)


async def test_a_key_opens_it(door: Door, world: World) -> None:
    session = await door.ready()
    async with await door.connect(session) as client:
        await client.send_str('{"id": 1}')
        assert await client.receive_str() == '{"id": 1}'
    uid = session["id"].removeprefix("ses_")
    assert world.agent.steps == [(uid, "cdp", {})]
    assert world.agent.tokens == {"Bearer " + KeyRing({"1": b"k" * 32}).token(f"browser-{uid}", "1")}
    await until(lambda: not world.agent.clients)


async def test_so_does_a_connect_url_from_any_page(door: Door) -> None:
    session = await door.ready()
    answer = (await door.call("POST", f"/v1/sessions/{session['id']}/connect")).json()
    assert set(answer) == {"connect_url", "expires_at"}
    left = parse_time(answer["expires_at"]) - now()
    assert timedelta(seconds=55) < left <= timedelta(seconds=60)
    assert answer["connect_url"].startswith(f"ws://127.0.0.1:{door.port}/v1/sessions/{session['id']}/cdp?token=")
    async with await door.open(answer["connect_url"], {"Origin": "https://elsewhere.test"}) as client:
        await client.send_str("hello")
        assert await client.receive_str() == "hello"


async def test_the_session_has_its_url_while_there_is_something_behind_it(door: Door, world: World) -> None:
    world.operator.start = False
    session = await door.create()
    assert session["connect_url"] is None
    world.operator.ready("acct-acme", world.session(session["id"])["metadata"]["name"])
    await door.until_phase(session, "ready")
    url = f"ws://127.0.0.1:{door.port}{door.path(session)}"
    assert (await door.call("GET", f"/v1/sessions/{session['id']}")).json()["connect_url"] == url
    assert [each["connect_url"] for each in (await door.call("GET", "/v1/sessions")).json()["data"]] == [url]
    await door.call("DELETE", f"/v1/sessions/{session['id']}")
    assert (await door.call("GET", f"/v1/sessions/{session['id']}")).json()["connect_url"] is None


@pytest.mark.parametrize(
    ("headers", "base"),
    [
        ({"Host": "drift.test"}, "ws://drift.test"),
        ({"Host": "drift.test:8443", "X-Forwarded-Proto": "https"}, "wss://drift.test:8443"),
        ({"Host": "[fd00::1]:80", "X-Forwarded-Proto": "https, http"}, "wss://[fd00::1]:80"),
        ({"Host": "drift.test", "X-Forwarded-Proto": "gopher"}, "ws://drift.test"),
        ({"Host": 'a"b/@c?d'}, "ws://127.0.0.1:PORT"),
    ],
)
async def test_the_url_is_what_the_caller_came_by(door: Door, headers: dict[str, str], base: str) -> None:
    session = await door.ready()
    answer = await door.call("GET", f"/v1/sessions/{session['id']}", headers=headers)
    assert answer.json()["connect_url"] == base.replace("PORT", str(door.port)) + door.path(session)


async def test_or_what_was_set(world: World) -> None:
    async with opened(world, public_url="https://drift.test/browsers/") as door:
        session = await door.ready()
        answer = await door.call("POST", f"/v1/sessions/{session['id']}/connect", headers={"Host": "evil.test"})
        assert answer.json()["connect_url"].startswith(f"wss://drift.test/browsers{door.path(session)}?token=")


async def test_tokens_that_are_worth_nothing(door: Door, world: World) -> None:
    session, other = await door.ready(), await door.ready()
    token = await door.token(session)
    expiry, key, signature, ring_key = token.split(".")
    world.add_account("rival")
    await known(door, "rival")
    rival = world.kube.objects["apikeys", "acct-rival", "rival"]["metadata"]["uid"]
    later = str(int(expiry) + 1)
    forged = [
        "",
        "x",
        "...",
        "é" * 600,
        token[:-2],
        token + "x",
        await door.token(other),
        f"{later}.{key}.{signature}.{ring_key}",
        f"{expiry}.{rival}.{signature}.{ring_key}",
        f"{expiry}.{key}.{'0' * 64}.{ring_key}",
        f"{expiry}.{key}.{KeyRing({'1': b'k' * 32}).token(token)}.{ring_key}",
        f"{expiry}.{key}.{signature}.nothing",
    ]
    for each in forged:
        answer = await door.shake(door.path(session, quote(each)))
        problem = check(answer, 401, "unauthorized")
        assert "POST …/connect" in problem["detail"]
        assert answer.headers["WWW-Authenticate"] == "Bearer"
        assert len(each) < 10 or each not in answer.text
    assert not world.agent.steps


async def test_a_token_expires(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    session = await door.ready()
    monkeypatch.setattr("driftstack_api.devtools.tokens.VALID", timedelta(seconds=-0.001))
    problem = check(await door.shake(door.path(session, await door.token(session))), 401, "unauthorized")
    assert problem["detail"].startswith("This token has expired.")


async def test_an_expired_forgery_is_no_more_than_a_forgery(door: Door) -> None:
    session = await door.ready()
    _, rest = (await door.token(session)).split(".", 1)
    problem = check(await door.shake(door.path(session, f"1.{rest}")), 401, "unauthorized")
    assert "expired" not in problem["detail"]


async def test_keys_of_tokens_are_rotated(world: World) -> None:
    async with opened(world) as door:
        session = await door.ready()
        token = await door.token(session)
        world.connect_keys = KeyRing({"1": b"c" * 32, "2": b"d" * 32})
        async with opened(world) as newer:
            assert (await newer.token(session)).endswith(".2")
            (await newer.open(newer.path(session, token)))._response.close()
        world.connect_keys = KeyRing({"2": b"d" * 32})
        async with opened(world) as newest:
            check(await newest.shake(newest.path(session, token)), 401, "unauthorized")


async def test_a_token_is_as_good_as_its_key(door: Door, world: World) -> None:
    session = await door.ready()
    world.add_key("acme", "second", ["write:sessions"])
    await known(door, "second")
    token = await door.token(session, "second")
    world.add_key("acme", "second", ["read"])
    await until(lambda: _slug(door, "second") == "forbidden")
    assert "write:sessions" in check(await door.shake(door.path(session, token)), 403, "forbidden")["detail"]
    # A revoked key stays so, hence last.
    for slug, spec in (("expired-key", {"expiresAt": "2020-01-01T00:00:00Z"}), ("revoked-key", {"revoked": True})):
        world.add_key("acme", "second", ["write:sessions"], **spec)
        await until(lambda slug=slug: slug == _slug(door, "second"))
        check(await door.shake(door.path(session, token)), 401, slug)
    world.kube.remove("apikeys", "acct-acme", "second")
    await until(lambda: door.app.state.services.caches.keys.find(world.keys["second"].sha256) is None)
    check(await door.shake(door.path(session, token)), 401, "invalid-key")


def _slug(door: Door, key: str) -> str | None:
    """Return why a key would not be let in."""
    services = door.app.state.services
    known_key = services.caches.keys.find(door.world.keys[key].sha256)
    account = services.caches.accounts.of_namespace("acct-acme")
    caller = type("Caller", (), {"key": known_key, "account": account})
    objection = services.authenticator.objection(caller, "write:sessions")
    return objection and objection.slug


async def test_handshakes_that_are_refused(door: Door, world: World) -> None:
    session = await door.ready()
    mine = {"Authorization": door.bearer("acme")}
    world.add_account("rival")
    world.add_key("acme", "reader", ["read"])
    for name in ("rival", "reader"):
        await known(door, name)
    path = door.path(session)
    check(await door.shake(path), 401, "unauthorized")
    check(await door.shake(path, {"Authorization": "Bearer ds_live_nobody"}), 401, "invalid-key")
    # A header is not passed over for a token that would do.
    token = await door.token(session)
    check(await door.shake(door.path(session, token), {"Authorization": "Basic x"}), 401, "unauthorized")
    check(await door.shake(path, {"Authorization": door.bearer("reader")}), 403, "forbidden")
    check(await door.call("POST", f"/v1/sessions/{session['id']}/connect", key="reader"), 403, "forbidden")
    check(await door.shake(path, {"Authorization": door.bearer("rival")}), 404, "not-found")
    check(await door.call("POST", f"/v1/sessions/{session['id']}/connect", key="rival"), 404, "not-found")
    check(await door.shake("/v1/sessions/ses_x/cdp", mine), 404, "not-found")
    check(await door.shake(path, {**mine, "Sec-WebSocket-Key": "short"}), 400, "bad-request")
    for wrong in ({"Sec-WebSocket-Version": "12"}, {"Upgrade": "h2c"}, {"Connection": "keep-alive"}):
        answer = await door.shake(path, {**mine, **wrong})
        check(answer, 426, "bad-request")
        assert (answer.headers["Upgrade"], answer.headers["Sec-WebSocket-Version"]) == ("websocket", "13")
    check(await door.http.get(path, headers=mine), 426, "bad-request")
    assert not world.agent.steps
    await door.call("DELETE", f"/v1/sessions/{session['id']}")
    check(await door.shake(path, mine), 410, "session-destroyed")
    check(await door.call("POST", f"/v1/sessions/{session['id']}/connect"), 410, "session-destroyed")


async def test_after_a_refusal_the_connection_takes_more(door: Door) -> None:
    session = await door.ready()
    for _ in range(2):
        check(await door.shake(door.path(session)), 401, "unauthorized")
        assert (await door.call("GET", "/v1/whoami")).status_code == 200
    upgrade = {"Connection": "Upgrade", "Upgrade": "h2c"}
    assert (await door.call("GET", "/v1/whoami", headers=upgrade)).status_code == 200
    assert (await door.call("GET", "/v1/whoami")).status_code == 200


async def test_a_client_that_doesn_t_wait(door: Door, world: World) -> None:
    session = await door.ready()
    world.agent.hold.clear()
    reader, writer = await asyncio.open_connection("127.0.0.1", door.port)
    lines = [f"{name}: {value}" for name, value in {**HANDSHAKE, "Authorization": door.bearer("acme")}.items()]
    head = [f"GET {door.path(session)} HTTP/1.1", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", *lines, "", ""]
    writer.write("\r\n".join(head).encode())
    await until(lambda: world.agent.steps)
    writer.close()
    world.agent.hold.set()
    await until(lambda: len(world.agent.steps) and not world.agent.clients)
    await until(
        lambda: not door.app.state.services.tunnels._tunnels and not door.app.state.services.tunnels._opening
    )
    del reader


async def test_what_the_agent_refuses(door: Door, world: World) -> None:
    session = await door.ready()
    mine = {"Authorization": door.bearer("acme")}
    refusals: list[tuple[tuple[int, str], dict[str, Any], tuple[int, str]]] = [
        ((429, "too-many-clients"), {"limit": 16}, (409, "conflict")),
        ((410, "ended"), {"reason": "IdleTimeout"}, (410, "session-destroyed")),
        ((502, "browser-failed"), {}, (502, "driver-error")),
        ((401, "unauthorized"), {}, (502, "driver-error")),
    ]
    for told, details, seen in refusals:
        world.agent.refuse(*told, "no", **details)
        check(await door.shake(door.path(session), mine), *seen)
    world.agent.script.append(web.Response(text="no agent says this"))
    check(await door.shake(door.path(session), mine), 502, "driver-error")


async def test_a_session_that_is_creating_is_waited_for(
    door: Door, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.operator.start = False
    session = await door.create()
    monkeypatch.setattr("driftstack_api.devtools.tunnels.READY_MS", 50)
    check(await door.shake(door.path(session), {"Authorization": door.bearer("acme")}), 409, "conflict")
    monkeypatch.setattr("driftstack_api.devtools.tunnels.READY_MS", 10_000)
    connecting = asyncio.ensure_future(door.connect(session))
    await until(lambda: door.app.state.services.tunnels._opening)
    world.operator.ready("acct-acme", world.session(session["id"])["metadata"]["name"])
    async with await connecting as client:
        await client.send_str("x")
        assert await client.receive_str() == "x"


async def test_one_replica_takes_so_many(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    session = await door.ready()
    monkeypatch.setattr("driftstack_api.devtools.tunnels.MOST_TUNNELS", 1)
    mine = {"Authorization": door.bearer("acme")}
    async with await door.connect(session):
        answer = await door.shake(door.path(session), mine)
        check(answer, 503, "feature-unavailable")
        assert answer.headers["Retry-After"]
    await until(lambda: not door.app.state.services.tunnels._tunnels)
    (await door.connect(session))._response.close()


async def test_nothing_of_a_token_is_logged(door: Door, world: World, capsys: pytest.CaptureFixture[str]) -> None:
    session = await door.ready()
    token = await door.token(session)
    async with await door.open(door.path(session, token)):
        pass
    await until(lambda: not door.app.state.services.tunnels._tunnels)
    assert (await door.shake(door.path(session, token + "x"))).status_code == 401
    said = capsys.readouterr()
    for line in ("devtools opened", "devtools closed"):
        assert line in said.out
    assert session["id"] in said.out
    assert token.split(".")[2] not in said.out + said.err
