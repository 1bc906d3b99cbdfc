"""Webhook endpoints over REST: made, listed, changed, rotated, deleted."""

from __future__ import annotations

import asyncio
import logging
import re
import socket
from datetime import timedelta
from typing import Any

import pytest
import structlog

from driftstack_common.kube.client import Body
from driftstack_common.kube.errors import Invalid, QuotaExceeded, Unreachable
from driftstack_common.times import format_time, now, parse_time
from tests.integration.api.test_auth import known
from tests.integration.api.test_problems import check
from tests.integration.api.world import Facade, World, facade
from tests.unit.api.polling import until

URL = "https://hooks.example.com/driftstack"
BOTH = ["session.completed", "session.failed"]
ALL = [*BOTH, "api_key.revoked", "session.profile_save_failed"]
UNKNOWN = "whk_9d2f0c1e-5b7a-4f0e-8a3d-2c6b1e4f7a90"


async def make(api: Facade, key: str = "acme", **body: Any) -> dict[str, Any]:
    answer = await api.call("POST", "/v1/webhooks", key=key, json={"url": URL, "events": BOTH, **body})
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


async def listed(api: Facade, key: str = "acme") -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await api.call("GET", "/v1/webhooks", key=key)).json()["data"]
    return found


def stored(world: World, webhook_id: str) -> Body:
    """Return the object of an endpoint."""
    uid = webhook_id.removeprefix("whk_")
    return next(
        body
        for (plural, _, _), body in world.kube.objects.items()
        if plural == "webhookendpoints" and body["metadata"]["uid"] == uid
    )


def secrets(world: World) -> dict[str, Body]:
    """Return the Secrets that there are, by name."""
    return {name: body for (plural, _, name), body in world.kube.objects.items() if plural == "secrets"}


def put(world: World, name: str, account: str = "acme", *, status: Body | None = None, **spec: Any) -> str:
    """Put an endpoint as kubectl would; return its public id."""
    spec = {"url": URL, "events": BOTH, "secretRef": {"name": f"{name}-secret", "key": "secret"}, **spec}
    body: Body = {"metadata": {"name": name, "namespace": f"acct-{account}"}, "spec": spec}
    if status is not None:
        body["status"] = status
    return f"whk_{world.kube.put('webhookendpoints', body)['metadata']['uid']}"


async def test_an_endpoint_and_its_secret(api: Facade, world: World) -> None:
    made = await make(api, description="orders")
    secret = made.pop("secret")
    assert re.fullmatch("whsec_[A-Z2-7]{32}", secret)
    assert made == {
        "id": made["id"],
        "url": URL,
        "secret_prefix": secret[:10],
        "prev_secret_prefix": None,
        "rotation_grace_expires_at": None,
        "events": BOTH,
        "description": "orders",
        "active": True,
        "consecutive_failures": 0,
        "last_success_at": None,
        "last_failure_at": None,
        "disabled_at": None,
        "delivery_counts": {"delivered": 0, "failed": 0, "dlq": 0},
        "created_at": made["created_at"],
    }
    assert (await api.call("GET", f"/v1/webhooks/{made['id']}")).json() == made
    assert await listed(api) == [made]
    body = stored(world, made["id"])
    ((name, kept),) = secrets(world).items()
    assert body["spec"]["secretRef"] == {"name": name, "prefix": secret[:10]}
    assert kept["stringData"] == {"secret": secret}
    assert kept["immutable"] is True
    (owner,) = kept["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["uid"]) == ("WebhookEndpoint", body["metadata"]["uid"])


async def test_secrets_are_in_secrets_alone(api: Facade, world: World, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with structlog.testing.capture_logs() as logs:
        made = await make(api)
        rotated = (await api.call("POST", f"/v1/webhooks/{made['id']}/rotate-secret")).json()
    elsewhere = [body for key, body in world.kube.objects.items() if key[0] != "secrets"]
    for secret in (made["secret"], rotated["secret"]):
        assert secret not in f"{elsewhere}{logs}{caplog.text}"
        assert secret[10:] not in f"{elsewhere}{logs}{caplog.text}"
    assert {verb for verb, plural in world.kube.calls if plural == "secrets"} == {"create"}, "it reads none"


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({"events": BOTH}, "url"),
        ({"url": "", "events": BOTH}, "url"),
        ({"url": 1, "events": BOTH}, "url"),
        ({"url": "https://a.test/" + "x" * 2040, "events": BOTH}, "url"),
        ({"url": URL}, "events"),
        ({"url": URL, "events": []}, "events"),
        ({"url": URL, "events": "session.completed"}, "events"),
        ({"url": URL, "events": ["session.started"]}, "events.0"),
        ({"url": URL, "events": ["session.completed", "test.ping"]}, "events.1"),
        ({"url": URL, "events": ["session.failed", "session.failed"]}, "events"),
        ({"url": URL, "events": ["session.failed"] * 11}, "events"),
        ({"url": URL, "events": BOTH, "description": "x" * 201}, "description"),
        ({"url": URL, "events": BOTH, "secret": "whsec_" + "A" * 32}, "secret"),
        ({"url": URL, "events": BOTH, "active": True}, "active"),
    ],
)
async def test_what_no_endpoint_can_be(api: Facade, body: dict[str, Any], path: str) -> None:
    answer = await api.call("POST", "/v1/webhooks", json=body)
    assert [issue["path"] for issue in check(answer, 400, "validation-failed")["issues"]] == [path]
    assert await listed(api) == []


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://hooks.example.com/", "not https"),
        ("ftp://hooks.example.com/", "https://host"),
        ("hooks.example.com", "https://host"),
        ("https:///path", "https://host"),
        ("https://user:password@hooks.example.com/", "without user name"),
        ("https://hooks.example.com/a b", "spaces"),
        ("https://hooks.example.com:0/", "port"),
        ("https://hooks.example.com:65536/", "port"),
        ("https://localhost/", "loopback"),
        ("https://127.0.0.1/", "loopback"),
        ("https://127.1/", "loopback"),
        ("https://2130706433/", "loopback"),
        ("https://0x7f000001/", "loopback"),
        ("https://0177.0.0.1/", "loopback"),
        ("https://①②⑦.0.0.1/", "loopback"),
        ("https://[::1]/", "loopback"),
        ("https://[::ffff:127.0.0.1]/", "loopback"),
        ("https://[64:ff9b::7f00:1]/", "loopback"),
        ("https://0.0.0.0/", "reserved"),
        ("https://10.0.0.1:8443/", "private"),
        ("https://172.16.5.4/", "private"),
        ("https://192.168.0.1/", "private"),
        ("https://100.64.0.1/", "NAT"),
        ("https://169.254.169.254/latest/meta-data", "link-local"),
        ("https://[fe80::1]/", "link-local"),
        ("https://[fd00::1]/", "private"),
        ("https://224.0.0.1/", "multicast"),
        ("https://rebound.example.com/", "private"),
        ("https://mixed.example.com/", "loopback"),
        ("https://nowhere.example.com/", "can't be resolved"),
    ],
)
async def test_where_no_endpoint_may_be(api: Facade, world: World, url: str, why: str) -> None:
    world.addresses |= {
        "rebound.example.com": ["10.96.0.1"],
        "mixed.example.com": ["93.184.216.34", "::1"],
        "nowhere.example.com": socket.gaierror(socket.EAI_NONAME, "Name or service not known"),
    }
    (issue,) = check(
        await api.call("POST", "/v1/webhooks", json={"url": url, "events": BOTH}), 400, "validation-failed"
    )["issues"]
    assert issue["path"] == "url"
    assert why in issue["message"]
    made = await make(api)
    changed = await api.call("PATCH", f"/v1/webhooks/{made['id']}", json={"url": url})
    assert check(changed, 400, "validation-failed")["issues"] == [issue]
    assert (await listed(api))[0]["url"] == URL


async def test_a_resolver_that_is_away(api: Facade, world: World) -> None:
    world.addresses["hooks.example.com"] = socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
    answer = await api.call("POST", "/v1/webhooks", json={"url": URL, "events": BOTH})
    check(answer, 503, "feature-unavailable")
    assert int(answer.headers["Retry-After"]) > 0


async def test_settings_allow_more(world: World) -> None:
    async with facade(world, webhook_allow_http=True, webhook_allow_private=True) as api:
        await make(api, url="http://127.0.0.1:8080/x")
        await make(api, url="http://10.0.0.1/")
        body = {"url": "http://169.254.169.254/", "events": BOTH}
        check(await api.call("POST", "/v1/webhooks", json=body), 400, "validation-failed")
    async with facade(world, webhook_refused_networks=["93.184.0.0/16"]) as api:
        body = {"url": URL, "events": BOTH}
        answer = check(await api.call("POST", "/v1/webhooks", json=body), 400, "validation-failed")
        assert "refused" in answer["issues"][0]["message"]


async def test_ten_that_are_live(api: Facade) -> None:
    body = {"url": URL, "events": BOTH}
    answers = await asyncio.gather(*(api.call("POST", "/v1/webhooks", json=body) for _ in range(15)))
    assert sorted(answer.status_code for answer in answers) == [201] * 10 + [409] * 5
    assert "10 webhook endpoints" in check(answers[-1], 409, "conflict")["detail"]
    made = next(answer.json() for answer in answers if answer.status_code == 201)
    assert (await api.call("DELETE", f"/v1/webhooks/{made['id']}")).status_code == 204
    await make(api)
    check(await api.call("POST", "/v1/webhooks", json=body), 409, "conflict")
    assert len(await listed(api)) == 11, "a deleted one is still shown"


async def test_too_many_deleted_ones_go(api: Facade, world: World) -> None:
    for number in range(45):
        put(world, f"old-{number}", disabled=True, disabledAt=format_time(now()))
    await until(lambda: len(api.app.state.services.caches.endpoints.of_namespace("acct-acme")) == 45)
    made = await make(api)
    await until(lambda: len(api.app.state.services.caches.endpoints.of_namespace("acct-acme")) == 41)
    assert made["id"] in {one["id"] for one in await listed(api)}


async def test_changes(api: Facade, world: World) -> None:
    made = await make(api, description="orders")
    made.pop("secret")
    path = f"/v1/webhooks/{made['id']}"
    expected = made
    for change, shown in (
        ({"active": False}, {"active": False}),
        ({"url": "https://elsewhere.example.com/"}, {"url": "https://elsewhere.example.com/"}),
        ({"events": ALL}, {"events": ALL}),
        ({"description": "x" * 200}, {"description": "x" * 200}),
        ({"description": None}, {"description": None}),
        ({"description": "", "active": True, "url": None}, {"active": True}),
    ):
        answer = await api.call("PATCH", path, json=change)
        expected = {**expected, **shown}
        assert (answer.status_code, answer.json()) == (200, expected)
        assert (await api.call("GET", path)).json() == expected, "the caller's next read shows it"
    assert stored(world, made["id"])["spec"]["paused"] is False


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({}, ""),
        ({"url": None, "events": None, "active": None}, ""),
        ({"events": []}, "events"),
        ({"active": "yes"}, "active"),
        ({"description": "x" * 201}, "description"),
        ({"secret": "x"}, "secret"),
    ],
)
async def test_what_no_change_can_be(api: Facade, body: dict[str, Any], path: str) -> None:
    made = await make(api)
    answer = await api.call("PATCH", f"/v1/webhooks/{made['id']}", json=body)
    assert [issue["path"] for issue in check(answer, 400, "validation-failed")["issues"]] == [path]


async def test_a_deleted_endpoint_is_disabled(api: Facade, world: World) -> None:
    made = await make(api)
    path = f"/v1/webhooks/{made['id']}"
    await api.call("POST", f"{path}/rotate-secret")
    assert len(secrets(world)) == 2
    for _ in range(2):
        assert (await api.call("DELETE", path)).status_code == 204
    assert secrets(world) == {}
    shown = (await api.call("GET", path)).json()
    assert shown["disabled_at"] is not None
    assert shown["active"] is False
    assert shown in await listed(api)
    await _refuses_all(api, path)


async def test_an_endpoint_that_failed_too_often_is_disabled(api: Facade, world: World) -> None:
    moment = format_time(now())
    status = {
        "disabledGeneration": 1,
        "disabledAt": moment,
        "consecutiveFailures": 50,
        "lastFailureAt": moment,
        "counts": {"delivered": 3, "failed": 300, "dlq": 50},
    }
    webhook_id = put(world, "dead", status=status)
    shown = (await api.call("GET", f"/v1/webhooks/{webhook_id}")).json()
    assert shown["disabled_at"] == moment
    assert shown["active"] is False
    assert shown["consecutive_failures"] == 50
    assert shown["delivery_counts"] == {"delivered": 3, "failed": 300, "dlq": 50}
    await _refuses_all(api, f"/v1/webhooks/{webhook_id}")
    assert (await api.call("DELETE", f"/v1/webhooks/{webhook_id}")).status_code == 204
    assert stored(world, webhook_id)["spec"]["disabled"] is True


async def _refuses_all(api: Facade, path: str) -> None:
    for method, below, body in (
        ("PATCH", "", {"active": True}),
        ("POST", "/test", {}),
        ("POST", "/rotate-secret", {}),
    ):
        problem = check(await api.call(method, path + below, json=body), 409, "conflict")
        assert "create a new one" in problem["detail"]


async def test_rotation(api: Facade, world: World) -> None:
    made = await make(api)
    path = f"/v1/webhooks/{made['id']}"
    first = (await api.call("POST", f"{path}/rotate-secret")).json()
    assert re.fullmatch("whsec_[A-Z2-7]{32}", first["secret"])
    assert first == {
        "id": made["id"],
        "secret": first["secret"],
        "secret_prefix": first["secret"][:10],
        "prev_secret_prefix": made["secret_prefix"],
        "grace_expires_at": first["grace_expires_at"],
    }
    assert abs(parse_time(first["grace_expires_at"]) - now() - timedelta(hours=24)) < timedelta(minutes=1)
    shown = (await api.call("GET", path)).json()
    assert shown["secret_prefix"] == first["secret_prefix"]
    assert shown["prev_secret_prefix"] == made["secret_prefix"]
    assert shown["rotation_grace_expires_at"] == first["grace_expires_at"]
    spec = stored(world, made["id"])["spec"]
    by_name = {name: body["stringData"]["secret"] for name, body in secrets(world).items()}
    assert by_name == {
        spec["secretRef"]["name"]: first["secret"],
        spec["previousSecretRef"]["name"]: made["secret"],
    }
    second = (await api.call("POST", f"{path}/rotate-secret")).json()
    assert second["prev_secret_prefix"] == first["secret_prefix"]
    kept = {body["stringData"]["secret"] for body in secrets(world).values()}
    assert kept == {second["secret"], first["secret"]}, "the oldest signs no more"


async def test_after_its_grace_the_old_secret_is_not_shown(api: Facade, world: World) -> None:
    past = format_time(now() - timedelta(seconds=1))
    old = {"name": "old", "key": "secret", "prefix": "whsec_OLDS", "expiresAt": past}
    shown = (await api.call("GET", f"/v1/webhooks/{put(world, 'rotated', previousSecretRef=old)}")).json()
    assert (shown["prev_secret_prefix"], shown["rotation_grace_expires_at"]) == (None, None)


async def test_two_rotations_at_once(api: Facade, world: World) -> None:
    made = await make(api)
    path = f"/v1/webhooks/{made['id']}/rotate-secret"
    world.kube.slowness = 0.02
    answers = await asyncio.gather(*(api.call("POST", path) for _ in range(3)))
    (won,) = (answer.json() for answer in answers if answer.status_code == 200)
    for answer in answers:
        if answer.status_code != 200:
            check(answer, 409, "conflict")
    assert won["prev_secret_prefix"] == made["secret_prefix"]
    kept = {body["stringData"]["secret"] for body in secrets(world).values()}
    assert kept == {won["secret"], made["secret"]}, "what lost is gone"


async def test_secrets_of_kubectls_user_stay(api: Facade, world: World) -> None:
    webhook_id = put(world, "orders")
    world.kube.put("secrets", {"metadata": {"name": "orders-secret", "namespace": "acct-acme"}})
    await until(lambda: api.app.state.services.caches.endpoints.of_namespace("acct-acme"))
    (shown,) = await listed(api)
    assert (shown["id"], shown["secret_prefix"]) == (webhook_id, "")
    rotated = (await api.call("POST", f"/v1/webhooks/{webhook_id}/rotate-secret")).json()
    assert rotated["prev_secret_prefix"] == ""
    for _ in range(2):
        assert (await api.call("DELETE", f"/v1/webhooks/{webhook_id}")).status_code == 204
    assert list(secrets(world)) == ["orders-secret"]


async def test_a_create_that_breaks_off_leaves_nothing(api: Facade, world: World) -> None:
    world.kube.fail("create secrets", Unreachable("away"))
    body = {"url": URL, "events": BOTH}
    check(await api.call("POST", "/v1/webhooks", json=body), 503, "feature-unavailable")
    assert not [key for key in world.kube.objects if key[0] == "webhookendpoints"]
    world.kube.fail("delete webhookendpoints", Unreachable("away"))
    check(await api.call("POST", "/v1/webhooks", json=body), 503, "feature-unavailable")
    for method in ("create secrets", "delete webhookendpoints"):
        world.kube.fail(method, None)
    (left,) = await listed(api)
    rotated = await api.call("POST", f"/v1/webhooks/{left['id']}/rotate-secret")
    assert rotated.status_code == 200, "one without its secret can be given another"
    (kept,) = secrets(world).values()
    assert kept["stringData"]["secret"] == rotated.json()["secret"]


async def test_a_rotation_that_is_refused_changes_nothing(api: Facade, world: World) -> None:
    made = await make(api)
    before = stored(world, made["id"])["spec"]
    world.kube.fail("patch webhookendpoints", Invalid("no", status=422))
    check(await api.call("POST", f"/v1/webhooks/{made['id']}/rotate-secret"), 409, "conflict")
    assert stored(world, made["id"])["spec"] == before
    assert [body["stringData"]["secret"] for body in secrets(world).values()] == [made["secret"]]


@pytest.mark.parametrize("stored_first", [True, False])
async def test_a_rotation_without_an_answer_leaves_the_endpoint_a_key(
    api: Facade, world: World, monkeypatch: pytest.MonkeyPatch, stored_first: bool
) -> None:
    made = await make(api)
    patch = world.kube.json_patch

    async def lost(*words: Any) -> None:
        if stored_first:
            await patch(*words)
        raise Unreachable("away")

    monkeypatch.setattr(world.kube, "json_patch", lost)
    path = f"/v1/webhooks/{made['id']}/rotate-secret"
    check(await api.call("POST", path), 503, "feature-unavailable")
    monkeypatch.undo()
    spec = stored(world, made["id"])["spec"]
    assert spec["secretRef"]["name"] in secrets(world)
    assert ("previousSecretRef" in spec) is stored_first
    assert made["secret"] in {body["stringData"]["secret"] for body in secrets(world).values()}, "it signs on"
    copy = api.app.state.services.caches.endpoints
    await until(lambda: copy.of_namespace("acct-acme")[0].spec.secret_ref.name == spec["secretRef"]["name"])
    assert (await api.call("POST", path)).status_code == 200


async def test_the_newest_come_first(api: Facade, world: World) -> None:
    for minute in (1, 3, 2):
        metadata = {
            "name": f"m{minute}",
            "namespace": "acct-acme",
            "creationTimestamp": f"2026-05-12T12:0{minute}:00Z",
        }
        spec = {"url": URL, "events": BOTH, "description": str(minute), "secretRef": {"name": "s"}}
        world.kube.put("webhookendpoints", {"metadata": metadata, "spec": spec})
    await until(lambda: len(api.app.state.services.caches.endpoints.of_namespace("acct-acme")) == 3)
    assert [one["description"] for one in await listed(api)] == ["3", "2", "1"]


async def test_calls_need_their_scope(api: Facade, world: World) -> None:
    made = await make(api)
    for name, scopes in (("hooks", ["read:webhooks"]), ("broad", ["read", "write"]), ("narrow", ["read:sessions"])):
        world.add_key("acme", name, scopes)
        await known(api, name)
    path = f"/v1/webhooks/{made['id']}"
    unknown_delivery = f"/v1/webhook-deliveries/{UNKNOWN.replace('whk', 'wdl')}/replay"
    reads = [("GET", "/v1/webhooks"), ("GET", path), ("GET", f"{path}/deliveries")]
    writes = [
        ("POST", "/v1/webhooks"),
        ("PATCH", path),
        ("DELETE", path),
        ("POST", f"{path}/test"),
        ("POST", f"{path}/rotate-secret"),
        ("POST", unknown_delivery),
    ]
    for method, where in reads:
        assert [(await api.call(method, where, key=key)).status_code for key in ("hooks", "broad")] == [200, 200]
        problem = check(await api.call(method, where, key="narrow"), 403, "forbidden")
        assert "`read:webhooks`" in problem["detail"]
    for method, where in writes:
        for key in ("hooks", "broad", "narrow"):
            problem = check(await api.call(method, where, key=key, json={}), 403, "forbidden")
            assert "`account_owner`" in problem["detail"]
    assert stored(world, made["id"])["spec"].get("disabled", False) is False


async def test_what_is_anothers_is_not_there(api: Facade, world: World) -> None:
    world.add_account("other")
    await known(api, "other")
    theirs = await make(api, key="other")
    assert await listed(api) == []
    for webhook_id in (theirs["id"], UNKNOWN, "whk_1", "nonsense", theirs["id"].upper(), theirs["id"][4:]):
        path = f"/v1/webhooks/{webhook_id}"
        answers = [
            await api.call("GET", path),
            await api.call("PATCH", path, json={"active": False}),
            await api.call("DELETE", path),
            await api.call("POST", f"{path}/test", json={}),
            await api.call("POST", f"{path}/rotate-secret", json={}),
            await api.call("GET", f"{path}/deliveries"),
        ]
        assert {check(answer, 404, "not-found")["detail"] for answer in answers} == {
            "There is no such webhook endpoint."
        }
    assert (await listed(api, "other"))[0]["active"] is True


async def test_ids_survive_a_backup(api: Facade, world: World) -> None:
    metadata = {
        "name": "restored",
        "namespace": "acct-acme",
        "annotations": {"driftstack.dev/id": UNKNOWN},
    }
    spec = {"url": URL, "events": BOTH, "secretRef": {"name": "s"}}
    world.kube.put("webhookendpoints", {"metadata": metadata, "spec": spec})
    assert (await api.call("GET", f"/v1/webhooks/{UNKNOWN}")).json()["id"] == UNKNOWN


async def test_while_the_copy_may_be_old(api: Facade, world: World) -> None:
    made = await make(api)
    caches = api.app.state.services.caches
    world.kube.fail("watch webhookendpoints", Unreachable("away"))
    world.kube.fail("list webhookendpoints", Unreachable("away"))
    world.kube.cut()
    await until(lambda: not caches.webhooks_fresh, 10)
    check(await api.call("GET", "/v1/webhooks"), 503, "feature-unavailable")
    check(await api.call("GET", f"/v1/webhooks/{made['id']}"), 503, "feature-unavailable")
    check(await api.call("GET", f"/v1/webhooks/{made['id']}/deliveries"), 503, "feature-unavailable")
    assert (await api.call("GET", "/v1/sessions")).status_code == 200, "sessions go on"


async def test_an_account_that_may_have_no_more(api: Facade, world: World) -> None:
    full = QuotaExceeded("exceeded quota: driftstack-sessions, requested: count/webhookendpoints…", status=403)
    world.kube.fail("create webhookendpoints", full)
    body = {"url": URL, "events": BOTH}
    problem = check(await api.call("POST", "/v1/webhooks", json=body), 409, "conflict")
    assert "as many webhook endpoints" in problem["detail"]
    unknown = QuotaExceeded("status unknown for quota: driftstack-sessions", status=403)
    world.kube.fail("create webhookendpoints", unknown)
    check(await api.call("POST", "/v1/webhooks", json=body), 503, "feature-unavailable")
    assert secrets(world) == {}


async def test_without_a_dispatcher_nothing_is_promised(world: World) -> None:
    webhook_id = put(world, "older")
    async with facade(world, webhooks=False) as api:
        for path, body in (
            ("/v1/webhooks", {"url": URL, "events": BOTH}),
            (f"/v1/webhooks/{webhook_id}/test", None),
            (f"/v1/webhook-deliveries/wdl_{UNKNOWN.removeprefix('whk_')}/replay", None),
        ):
            refused = check(await api.call("POST", path, json=body), 503, "feature-unavailable")
            assert refused["detail"] == "Webhooks are switched off here: nothing would be sent."
        await until(lambda: api.app.state.services.caches.endpoints.of_namespace("acct-acme"))
        assert [one["id"] for one in await listed(api)] == [webhook_id]
        assert (await api.call("DELETE", f"/v1/webhooks/{webhook_id}")).status_code == 204
