"""API keys over REST: made, listed, revoked, rotated."""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import Any

import pytest
import structlog

from driftstack_api.keys.schemas import Scope
from driftstack_common.api_keys import digest
from driftstack_common.kube.errors import QuotaExceeded, Unreachable
from driftstack_common.times import format_time, now, parse_time
from tests.integration.api.test_auth import known
from tests.integration.api.test_problems import check
from tests.integration.api.world import Facade, World, facade
from tests.unit.api.polling import until

SCOPES: list[Any] = list(Scope.__args__)  # type: ignore[attr-defined]


async def make(api: Facade, key: str = "acme", **body: Any) -> dict[str, Any]:
    answer = await api.call("POST", "/v1/api-keys", key=key, json={"name": "ci", "scopes": ["read"], **body})
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


async def works(api: Facade, plaintext: str) -> bool:
    answer = await api.call("GET", "/v1/whoami", key=None, headers={"Authorization": f"Bearer {plaintext}"})
    return bool(answer.status_code == 200)


async def listed(api: Facade) -> dict[str, dict[str, Any]]:
    return {key["id"]: key for key in (await api.call("GET", "/v1/api-keys")).json()["data"]}


async def test_a_key_is_shown_once_and_works_at_once(api: Facade) -> None:
    expires_at = format_time(now() + timedelta(days=30))
    made = await make(api, scopes=["read:sessions", "write"], expires_at=expires_at)
    plaintext = made.pop("plaintext")
    assert plaintext.startswith(made["key_prefix"])
    assert len(plaintext) >= len("ds_live_") + 32
    assert made == {
        "id": made["id"],
        "name": "ci",
        "key_prefix": plaintext[:12],
        "scopes": ["read:sessions", "write"],
        "last_used_at": None,
        "revoked_at": None,
        "expires_at": expires_at,
        "created_at": made["created_at"],
    }
    assert await works(api, plaintext)
    assert (await listed(api))[made["id"]] == made


async def test_nothing_but_its_hash_is_stored_or_logged(api: Facade, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with structlog.testing.capture_logs() as logs:
        made = await make(api)
        plaintext = made["plaintext"]
        assert await works(api, plaintext)
        rotated = (await api.call("POST", f"/v1/api-keys/{made['id']}/rotate")).json()["plaintext"]
    stored = str(api.world.kube.objects)
    logged = f"{logs}{caplog.text}"
    assert [log["route"] for log in logs if log["event"] == "request"] == [
        "/v1/api-keys",
        "/v1/whoami",
        "/v1/api-keys/{key_id}/rotate",
    ]
    for secret in (plaintext, rotated):
        assert digest(secret) in stored
        assert secret not in stored + logged
        assert secret[12:] not in stored + logged


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({"scopes": ["read"]}, "name"),
        ({"name": "", "scopes": ["read"]}, "name"),
        ({"name": "x" * 121, "scopes": ["read"]}, "name"),
        ({"name": 1, "scopes": ["read"]}, "name"),
        ({"name": "ci"}, "scopes"),
        ({"name": "ci", "scopes": []}, "scopes"),
        ({"name": "ci", "scopes": "read"}, "scopes"),
        ({"name": "ci", "scopes": ["admin"]}, "scopes.0"),
        ({"name": "ci", "scopes": ["read", "read"]}, "scopes"),
        ({"name": "ci", "scopes": ["read"] * 20}, "scopes"),
        ({"name": "ci", "scopes": ["read"], "expires_at": "2020-01-01T00:00:00Z"}, "expires_at"),
        ({"name": "ci", "scopes": ["read"], "expires_at": "2099-01-01T00:00:00"}, "expires_at"),
        ({"name": "ci", "scopes": ["read"], "expires_at": "2099-13-01T00:00:00Z"}, "expires_at"),
        ({"name": "ci", "scopes": ["read"], "expires_at": "2099-02-30T00:00:00Z"}, "expires_at"),
        ({"name": "ci", "scopes": ["read"], "expires_at": "٢٠٩٩-01-01T00:00:00Z"}, "expires_at"),
        ({"name": "ci", "scopes": ["read"], "expires_at": "4102444800"}, "expires_at"),
        ({"name": "ci", "scopes": ["read"], "expires_at": 4102444800}, "expires_at"),
        ({"name": "ci", "scopes": ["read"], "sha256": "0" * 64}, "sha256"),
    ],
)
async def test_what_no_key_can_be(api: Facade, body: dict[str, Any], path: str) -> None:
    answer = await api.call("POST", "/v1/api-keys", json=body)
    assert [issue["path"] for issue in check(answer, 400, "validation-failed")["issues"]] == [path]


async def test_every_scope_can_be_given(api: Facade) -> None:
    made = await make(api, scopes=SCOPES, expires_at="2099-01-01t00:00:00.5+02:00")
    assert made["scopes"] == SCOPES
    assert made["expires_at"] == "2098-12-31T22:00:00.500Z"


@pytest.mark.parametrize(
    ("own", "given", "allowed"),
    [
        (["admin:api-keys"], ["admin:api-keys"], True),
        (["admin:api-keys", "read"], ["read:sessions", "read:api-keys", "read"], True),
        (["admin:api-keys", "read:sessions"], ["read"], False),
        (["admin:api-keys", "read", "write"], ["account_owner"], False),
        (["admin:api-keys", "write"], ["write:sessions", "read:sessions"], False),
        (["account_owner"], SCOPES, True),
    ],
)
async def test_a_key_gives_no_rights_that_it_lacks(
    api: Facade, own: list[str], given: list[str], allowed: bool
) -> None:
    api.world.add_key("acme", "own", own)
    api.world.add_key("acme", "target", given)
    await known(api, "own")
    await known(api, "target")
    before = len(api.world.kube.objects)
    created = await api.call("POST", "/v1/api-keys", key="own", json={"name": "x", "scopes": given})
    target = api.world.kube.objects["apikeys", "acct-acme", "target"]["metadata"]["uid"]
    rotated = await api.call("POST", f"/v1/api-keys/key_{target}/rotate", key="own")
    if allowed:
        assert (created.status_code, rotated.status_code) == (201, 201)
        return
    for answer in (created, rotated):
        assert "lacks the scope" in check(answer, 403, "forbidden")["detail"]
    assert len(api.world.kube.objects) == before


async def test_calls_need_their_scope(api: Facade, world: World) -> None:
    for name, scopes in (
        ("reader", ["read:api-keys"]),
        ("broad", ["read", "write"]),
        ("admin", ["admin:api-keys"]),
    ):
        world.add_key("acme", name, scopes)
        await known(api, name)
    key_id = next(iter(await listed(api)))
    for name, reads, writes in (("reader", True, False), ("broad", True, False), ("admin", False, True)):
        answer = await api.call("GET", "/v1/api-keys", key=name)
        assert answer.status_code == (200 if reads else 403)
        made = await api.call("POST", "/v1/api-keys", key=name, json={"name": "x", "scopes": ["admin:api-keys"]})
        assert made.status_code == (201 if writes else 403)
        if not writes:
            for method, path in (("DELETE", f"/v1/api-keys/{key_id}"), ("POST", f"/v1/api-keys/{key_id}/rotate")):
                assert "admin:api-keys" in check(await api.call(method, path, key=name), 403, "forbidden")["detail"]


async def test_a_revoked_key_stops_at_once_and_for_good(api: Facade) -> None:
    made = await make(api)
    api.world.kube.muted = True  # no watch tells of it
    for _ in range(2):
        assert (await api.call("DELETE", f"/v1/api-keys/{made['id']}")).status_code == 204
    header = {"Authorization": f"Bearer {made['plaintext']}"}
    check(await api.call("GET", "/v1/whoami", key=None, headers=header), 401, "revoked-key")
    api.world.kube.muted = False
    assert parse_time((await listed(api))[made["id"]]["revoked_at"]) <= now()
    check(await api.call("POST", f"/v1/api-keys/{made['id']}/rotate"), 409, "conflict")


async def test_a_late_event_brings_no_key_back(api: Facade) -> None:
    made = await make(api)
    keys = api.app.state.services.caches.keys
    before = keys.find(digest(made["plaintext"]))
    await api.call("DELETE", f"/v1/api-keys/{made['id']}")
    keys.stored(before, before)
    assert not await works(api, made["plaintext"])


async def test_a_key_may_revoke_itself(api: Facade) -> None:
    made = await make(api, scopes=["admin:api-keys"])
    header = {"Authorization": f"Bearer {made['plaintext']}"}
    answer = await api.call("DELETE", f"/v1/api-keys/{made['id']}", key=None, headers=header)
    assert answer.status_code == 204
    assert not await works(api, made["plaintext"])


async def test_revocation_reaches_the_other_replica(world: World) -> None:
    async with facade(world) as one, facade(world) as other:
        made = await make(one)
        await until(lambda: other.app.state.services.caches.keys.find(digest(made["plaintext"])))
        assert await works(other, made["plaintext"])
        await other.call("DELETE", f"/v1/api-keys/{made['id']}")
        await until(lambda: one.app.state.services.caches.keys.find(digest(made["plaintext"])).spec.revoked)
        assert not await works(one, made["plaintext"])


async def test_what_the_copy_has_not_seen_is_looked_up(api: Facade) -> None:
    api.world.kube.muted = True
    await until(lambda: ("watch", "apikeys") in api.world.kube.calls)
    api.world.add_key("acme", "new", ["read"])
    uid = api.world.kube.objects["apikeys", "acct-acme", "new"]["metadata"]["uid"]
    assert (await api.call("DELETE", f"/v1/api-keys/key_{uid}")).status_code == 204
    assert api.world.kube.objects["apikeys", "acct-acme", "new"]["spec"]["revoked"]


@pytest.mark.parametrize("call", [("DELETE", ""), ("POST", "/rotate")])
async def test_keys_of_others_are_not_there(api: Facade, world: World, call: tuple[str, str]) -> None:
    world.add_account("other")
    await known(api, "other")
    theirs = world.kube.objects["apikeys", "acct-other", "other"]["metadata"]["uid"]
    method, suffix = call
    for key_id in (f"key_{theirs}", "key_00000000-0000-0000-0000-000000000000", theirs, "x"):
        check(await api.call(method, f"/v1/api-keys/{key_id}{suffix}"), 404, "not-found")
    assert "revoked" not in world.kube.objects["apikeys", "acct-other", "other"]["spec"]


async def test_a_rotation(api: Facade) -> None:
    old = await make(api, name="deploy", scopes=["read", "write"])
    answer = await api.call("POST", f"/v1/api-keys/{old['id']}/rotate")
    assert answer.status_code == 201
    new = answer.json()
    assert (new["name"], new["scopes"], new["expires_at"]) == ("deploy", ["read", "write"], None)
    assert new["id"] != old["id"]
    assert await works(api, old["plaintext"])
    assert await works(api, new["plaintext"])
    shown = (await listed(api))[old["id"]]
    assert timedelta(hours=23, minutes=59) < parse_time(shown["expires_at"]) - now() <= timedelta(hours=24)
    stored = {
        body["metadata"]["name"]: body for (p, _, _), body in api.world.kube.objects.items() if p == "apikeys"
    }
    (retired,) = (body for body in stored.values() if body["spec"].get("replacedBy"))
    assert stored[retired["spec"]["replacedBy"]]["spec"]["sha256"] == digest(new["plaintext"])


async def test_a_rotation_prolongs_nothing(api: Facade) -> None:
    expires_at = format_time(now() + timedelta(hours=1))
    old = await make(api, expires_at=expires_at)
    new = (await api.call("POST", f"/v1/api-keys/{old['id']}/rotate")).json()
    assert new["expires_at"] == (await listed(api))[old["id"]]["expires_at"] == expires_at


async def test_a_rotation_whose_answer_was_lost_can_be_repeated(api: Facade) -> None:
    old = await make(api)
    path = f"/v1/api-keys/{old['id']}/rotate"
    assert (await api.call("POST", path)).status_code == 201
    ends = (await listed(api))[old["id"]]["expires_at"]
    again = (await api.call("POST", path)).json()
    assert again["expires_at"] is None
    assert await works(api, again["plaintext"])
    assert (await listed(api))[old["id"]]["expires_at"] == ends


@pytest.mark.parametrize("failing", ["create apikeys", "patch apikeys"])
async def test_a_rotation_that_breaks_off_ends_no_key(api: Facade, failing: str) -> None:
    old = await make(api)
    path = f"/v1/api-keys/{old['id']}/rotate"
    api.world.kube.fail(failing, Unreachable("away"))
    check(await api.call("POST", path), 503, "feature-unavailable")
    api.world.kube.fail(failing, None)
    assert (await listed(api))[old["id"]]["expires_at"] is None
    assert await works(api, old["plaintext"])
    assert await works(api, (await api.call("POST", path)).json()["plaintext"])


async def test_a_rotation_beside_another_write(api: Facade) -> None:
    made = await make(api)
    name = next(
        body["metadata"]["name"]
        for body in api.world.kube.objects.values()
        if body["metadata"]["uid"] == made["id"].removeprefix("key_")
    )
    api.world.kube.muted = True
    body = api.world.kube.objects["apikeys", "acct-acme", name]
    api.world.kube.put("apikeys", {**body, "status": {"lastUsedAt": format_time(now())}})
    assert (await api.call("POST", f"/v1/api-keys/{made['id']}/rotate")).status_code == 201
    assert api.world.kube.objects["apikeys", "acct-acme", name]["spec"]["replacedBy"]


async def test_a_rotation_beside_a_revocation_leaves_no_key_that_works(api: Facade) -> None:
    made = await make(api)
    (name,) = (
        body["metadata"]["name"]
        for body in api.world.kube.objects.values()
        if body["metadata"]["uid"] == made["id"].removeprefix("key_")
    )
    api.world.kube.muted = True
    body = api.world.kube.objects["apikeys", "acct-acme", name]
    api.world.kube.put("apikeys", {**body, "spec": {**body["spec"], "revoked": True}})
    check(await api.call("POST", f"/v1/api-keys/{made['id']}/rotate"), 409, "conflict")
    keys = [body for (plural, _, _), body in api.world.kube.objects.items() if plural == "apikeys"]
    assert [body["spec"]["name"] for body in keys if not body["spec"].get("revoked")] == ["acme"]


async def test_keys_that_work_are_bounded(api: Facade, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("driftstack_api.keys.service.MOST_KEYS", 3)
    made = [await make(api) for _ in range(2)]
    body = {"name": "ci", "scopes": ["read"]}
    assert "revoke one" in check(await api.call("POST", "/v1/api-keys", json=body), 409, "conflict")["detail"]
    assert (await api.call("DELETE", f"/v1/api-keys/{made[0]['id']}")).status_code == 204
    await make(api)


@pytest.mark.parametrize(
    ("text", "status", "slug", "told"),
    [
        ("exceeded quota: driftstack-sessions, requested: count/apikeys", 409, "conflict", "revoked and expired"),
        ("status unknown for quota: driftstack-sessions", 503, "feature-unavailable", "Try again"),
    ],
)
async def test_objects_of_an_account_are_bounded_too(
    api: Facade, world: World, text: str, status: int, slug: str, told: str
) -> None:
    world.kube.fail("create apikeys", QuotaExceeded(text, status=403))
    answer = await api.call("POST", "/v1/api-keys", json={"name": "ci", "scopes": ["read"]})
    assert told in check(answer, status, slug)["detail"]


async def test_the_end_of_all_days_is_an_expiry(api: Facade) -> None:
    made = await make(api, expires_at="9999-12-31T23:59:59-01:00")
    assert made["expires_at"] == "9999-12-31T23:59:59.999Z"
    assert (await listed(api))[made["id"]]["expires_at"] == made["expires_at"]


async def test_what_has_ended_rotates_no_more(api: Facade, world: World) -> None:
    world.add_key("acme", "old", ["read"], expiresAt="2020-01-01T00:00:00Z")
    await known(api, "old")
    uid = world.kube.objects["apikeys", "acct-acme", "old"]["metadata"]["uid"]
    check(await api.call("POST", f"/v1/api-keys/key_{uid}/rotate"), 409, "conflict")


async def test_uses_are_written_once_a_minute(api: Facade) -> None:
    def patches() -> int:
        return api.world.kube.calls.count(("patch", "apikeys"))

    for _ in range(20):
        await api.call("GET", "/v1/whoami")
    await until(lambda: api.world.kube.objects["apikeys", "acct-acme", "acme"].get("status"))
    await api.app.state.services.last_used.drain(1)
    assert patches() == 1
    (shown,) = (await listed(api)).values()
    assert now() - parse_time(shown["last_used_at"]) < timedelta(minutes=1)


async def test_uses_are_written_when_the_facade_stops(world: World) -> None:
    async with facade(world) as api:
        await api.call("GET", "/v1/whoami")
    assert world.kube.objects["apikeys", "acct-acme", "acme"]["status"]["lastUsedAt"]


async def test_uses_are_dropped_while_the_api_server_is_away(api: Facade) -> None:
    api.world.kube.fail("patch", Unreachable("away"))
    assert (await api.call("GET", "/v1/whoami")).status_code == 200
    await until(lambda: ("patch", "apikeys") in api.world.kube.calls)
    await api.app.state.services.last_used.drain(1)
    assert api.world.kube.calls.count(("patch", "apikeys")) == 1
