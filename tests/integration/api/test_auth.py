"""Keys, scopes and accounts."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest

from driftstack_common.kube.errors import Unreachable
from tests.integration.api.test_problems import check
from tests.integration.api.world import Facade, World, facade
from tests.unit.api.polling import until


async def known(api: Facade, name: str) -> None:
    """Wait until the facade has seen a key."""
    sha256 = api.world.keys[name].sha256
    await until(lambda: api.app.state.services.caches.keys.find(sha256))


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        "Basic abc",
        "Basic ZHNfbGl2ZV94Og==",
        "ds_live_x",
        "Bearer a b",
        "Bearer ds_live_x, Bearer ds_live_x",
        "Bearer " + "x" * 10_240,
        "Bearer\tds_live_x",
        "Token ds_live_x",
    ],
)
async def test_no_usable_header(api: Facade, header: str | None) -> None:
    headers = {} if header is None else {"Authorization": header}
    answer = await api.call("GET", "/v1/whoami", key=None, headers=headers)
    check(answer, 401, "unauthorized")
    assert answer.headers["WWW-Authenticate"] == "Bearer"


async def test_a_key_that_nobody_has(api: Facade, world: World) -> None:
    key = world.keys["acme"].plaintext
    one_off = [
        key[:-1] + ("a" if key[-1] != "a" else "b"),
        key[:-1],
        key + "a",
        key.upper(),
        key[8:],
        f"sk_{key[3:]}",
    ]
    for token in ("ds_live_" + "x" * 43, "x", "x" * 512, *one_off):
        answer = await api.call("GET", "/v1/whoami", key=None, headers={"Authorization": f"Bearer {token}"})
        check(answer, 401, "invalid-key")


async def test_several_headers_are_none(api: Facade, world: World) -> None:
    header = (b"Authorization", f"Bearer {world.keys['acme'].plaintext}".encode())
    request = httpx2.Request("GET", "http://facade/v1/whoami", headers=[header, header])
    check(await api.http.send(request), 401, "unauthorized")


async def test_keys_that_no_longer_work(api: Facade, world: World) -> None:
    world.add_key("acme", "old", ["read"], expiresAt="2020-01-01T00:00:00Z")
    world.add_key("acme", "bad", ["read"], revoked=True, expiresAt="2020-01-01T00:00:00Z")
    world.add_key("nobody", "lost", ["read"])
    for name, slug in (("old", "expired-key"), ("bad", "revoked-key"), ("lost", "invalid-key")):
        await known(api, name)
        check(await api.call("GET", "/v1/whoami", key=name), 401, slug)


async def test_a_revocation_works_at_once(api: Facade, world: World) -> None:
    assert (await api.call("GET", "/v1/whoami")).status_code == 200
    key = world.keys["acme"]
    world.add_key("acme", "acme", ["account_owner"], revoked=True)
    await until(lambda: api.app.state.services.caches.keys.find(key.sha256).spec.revoked)
    check(await api.call("GET", "/v1/whoami"), 401, "revoked-key")
    world.kube.remove("apikeys", "acct-acme", "acme")
    await until(lambda: not api.app.state.services.caches.keys.find(key.sha256))
    check(await api.call("GET", "/v1/whoami"), 401, "invalid-key")


@pytest.mark.parametrize(
    ("scopes", "read", "write"),
    [
        (["account_owner"], True, True),
        (["read", "write"], True, True),
        (["read"], True, False),
        (["write"], False, True),
        (["read:sessions"], True, False),
        (["write:sessions"], False, True),
        (["read:profiles", "write:profiles", "admin:api-keys"], False, False),
    ],
)
async def test_scopes(api: Facade, world: World, scopes: list[str], read: bool, write: bool) -> None:
    world.add_key("acme", "some", scopes)
    await known(api, "some")
    path = "/v1/sessions/ses_x"
    calls: list[tuple[str, str, dict[str, Any], bool, str]] = [
        ("GET", "/v1/sessions", {}, read, "read:sessions"),
        ("GET", path, {}, read, "read:sessions"),
        ("POST", "/v1/sessions", {"json": {"profile_id": "x"}}, write, "write:sessions"),
        ("DELETE", path, {}, write, "write:sessions"),
        ("POST", f"{path}/navigate", {"json": {"url": "about:blank"}}, write, "write:sessions"),
        ("POST", f"{path}/capture", {"json": {"kind": "pdf"}}, write, "write:sessions"),
    ]
    for method, target, more, allowed, scope in calls:
        answer = await api.call(method, target, key="some", **more)
        if allowed:
            assert answer.status_code in (200, 404), (method, target)
        else:
            assert scope in check(answer, 403, "forbidden")["detail"]
    assert (await api.call("GET", "/v1/whoami", key="some")).json()["scopes"] == scopes


async def test_whoami(api: Facade) -> None:
    answer = (await api.call("GET", "/v1/whoami")).json()
    assert set(answer) == {"account_id", "api_key_id", "tier", "scopes"}
    assert answer["account_id"].startswith("acc_")
    assert answer["api_key_id"].startswith("key_")
    assert answer["tier"] == "api_builder"


async def test_a_suspended_account_can_do_nothing(api: Facade, world: World) -> None:
    world.add_account("acme", suspended=True)
    accounts = api.app.state.services.caches.accounts
    await until(lambda: accounts.of_namespace("acct-acme").spec.suspended)
    for path in ("/v1/whoami", "/v1/sessions"):
        answer = await api.call("GET", path)
        check(answer, 403, "forbidden")
        assert answer.headers["X-RateLimit-Bucket"] == "global", "its key is valid, so the call is counted"


@pytest.mark.parametrize("expiry", ["2027-02-30T00:00:00Z", "soon"])
async def test_a_key_that_can_not_be_read_any_more_opens_nothing(api: Facade, world: World, expiry: str) -> None:
    world.add_key("acme", "bounded", ["read"])
    await known(api, "bounded")
    world.add_key("acme", "bounded", ["read"], expiresAt=expiry)
    caches = api.app.state.services.caches
    await until(lambda: caches.keys.find(world.keys["bounded"].sha256) is None)
    check(await api.call("GET", "/v1/whoami", key="bounded"), 401, "invalid-key")
    assert len((await api.call("GET", "/v1/api-keys")).json()["data"]) == 1
    world.add_key("acme", "bounded", ["read"])
    await known(api, "bounded")


async def test_keys_of_an_account_that_can_not_be_read_any_more_open_nothing(api: Facade, world: World) -> None:
    world.kube.put("accounts", {**world.kube.objects["accounts", "", "acme"], "spec": {"tier": "none such"}})
    accounts = api.app.state.services.caches.accounts
    await until(lambda: accounts.of_namespace("acct-acme") is None)
    check(await api.call("GET", "/v1/whoami"), 401, "invalid-key")


async def test_what_can_not_be_read_opens_nothing_where_the_api_server_itself_is_asked(
    api: Facade, world: World
) -> None:
    world.add_key("acme", "bounded", ["read"])
    await known(api, "bounded")
    world.kube.blind()
    await until(lambda: not api.app.state.services.caches.credentials_fresh)
    world.add_key("acme", "bounded", ["read"], expiresAt="soon")
    check(await api.call("GET", "/v1/whoami", key="bounded"), 401, "invalid-key")


async def test_an_account_that_is_not_ready_takes_no_sessions_but_reads(api: Facade, world: World) -> None:
    world.add_account("young", ready=False)
    await known(api, "young")
    answer = await api.call("POST", "/v1/sessions", key="young")
    check(answer, 503, "feature-unavailable")
    assert answer.headers["Retry-After"].isdigit()
    assert (await api.call("GET", "/v1/sessions", key="young")).status_code == 200


async def test_a_copied_hash_takes_nobody_over(api: Facade, world: World) -> None:
    world.add_account("thief")
    copied = {"name": "copied", "scopes": ["account_owner"], "sha256": world.keys["acme"].sha256}
    world.kube.put(
        "apikeys",
        {"metadata": {"name": "copied", "namespace": "acct-thief", "creationTimestamp": "2099-01-01T00:00:00Z"}}
        | {"spec": copied},
    )
    await known(api, "thief")
    mine = (await api.call("GET", "/v1/whoami")).json()["account_id"]
    theirs = (await api.call("GET", "/v1/whoami", key="thief")).json()["account_id"]
    assert mine != theirs


async def test_while_the_watch_is_silent_keys_are_asked_for(world: World) -> None:
    async with facade(world, fresh_seconds=0.2) as api:
        for method in ("list", "watch"):
            world.kube.fail(method, Unreachable("away"))
        world.kube.cut()
        await until(lambda: not api.app.state.services.caches.credentials_fresh)
        assert (await api.call("GET", "/v1/whoami")).status_code == 200
        world.add_key("acme", "acme", ["account_owner"], revoked=True)
        check(await api.call("GET", "/v1/whoami"), 401, "revoked-key")
        world.kube.remove("apikeys", "acct-acme", "acme")
        check(await api.call("GET", "/v1/whoami"), 401, "invalid-key")
        world.kube.fail("get", Unreachable("away"))
        check(await api.call("GET", "/v1/whoami"), 503, "feature-unavailable")
