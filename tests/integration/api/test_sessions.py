"""Create, read, list, end: over ASGI, against an API server in memory."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import pytest

from driftstack_common.kinds import Session
from driftstack_common.kube.errors import (
    Invalid,
    KubeError,
    NamespaceTerminating,
    NotFound,
    QuotaExceeded,
    Unreachable,
)
from tests.integration.api.world import Facade, World, facade, record_of
from tests.unit.api.polling import until

FIELDS = {
    "id",
    "account_id",
    "api_key_id",
    "status",
    "archetype",
    "purpose",
    "label",
    "metadata",
    "created_at",
    "updated_at",
    "last_state_at",
    "destroyed_at",
    "egress_capabilities",
    "egress_capability_report",
    "connect_url",
}
TIMESTAMP = "2026-05-12T12:00:00Z"
UNKNOWN = "9d2f0c1e-5b7a-4f0e-8a3d-2c6b1e4f7a90"
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


async def test_a_session_from_create_to_gone(api: Facade, world: World) -> None:
    asked: dict[str, Any] = {
        "archetype": "iphone_16",
        "label": "ticket ✓",
        "metadata": {"a": [1, None, {"b": 0.5}]},
    }
    created = await api.create(**asked, behavioral_profile="casual", purpose="production_customer")
    assert set(created) == FIELDS
    assert created["status"] == "creating"
    assert created | asked == created
    assert created["last_state_at"] is None is created["destroyed_at"]
    assert created["updated_at"] == created["created_at"]
    assert TIME.fullmatch(created["created_at"])
    stored = world.session(created["id"])
    assert re.fullmatch(r"rest-[a-z0-9]{20}", stored["metadata"]["name"])
    assert stored["metadata"]["annotations"] == {
        "driftstack.dev/created-at": created["created_at"],
        "driftstack.dev/api-key-id": created["api_key_id"],
    }
    assert stored["spec"]["behavioralProfile"] == "casual"

    path = f"/v1/sessions/{created['id']}"
    await api.until_phase(created, "ready")
    read = (await api.call("GET", path)).json()
    assert read["status"] == "ready"
    assert read["updated_at"] == read["last_state_at"] >= created["created_at"]

    ended = await api.call("DELETE", path)
    assert ended.status_code == 204
    assert ended.content == b""
    read = (await api.call("GET", path)).json()
    assert read["status"] == "destroyed"
    assert read["destroyed_at"] == read["last_state_at"] == read["updated_at"]
    assert read["created_at"] == created["created_at"]
    assert read["metadata"] == asked["metadata"]
    assert (await api.call("DELETE", path)).status_code == 204


async def test_no_body_takes_the_accounts_default(api: Facade, world: World) -> None:
    world.add_account("acme", defaultArchetype="iphone_16")
    await until(lambda: _account(api).spec.default_archetype == "iphone_16")
    answer = await api.call("POST", "/v1/sessions")
    assert answer.status_code == 201
    assert answer.json()["archetype"] == "iphone_16"
    assert world.session(answer.json()["id"])["spec"]["archetype"] == "iphone_16"


async def test_reads_cost_no_call(api: Facade, world: World) -> None:
    created = await api.ready()
    world.kube.calls.clear()
    for _ in range(3):
        await api.call("GET", f"/v1/sessions/{created['id']}")
        await api.call("GET", "/v1/sessions")
    assert [call for call in world.kube.calls if call[0] != "watch"] == []


async def test_what_was_created_is_listed_at_once(api: Facade) -> None:
    created = [(await api.create(label=str(number)))["id"] for number in range(3)]
    listed = (await api.call("GET", "/v1/sessions")).json()
    assert {item["id"] for item in listed["data"]} == set(created)
    assert listed["has_more"] is False
    assert listed["next_cursor"] is None


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({"archetype": "no_such"}, "archetype"),
        ({"archetype": "Upper"}, "archetype"),
        ({"archetype": 1}, "archetype"),
        ({"label": "x" * 121}, "label"),
        ({"label": 5}, "label"),
        ({"purpose": "research"}, "purpose"),
        ({"behavioral_profile": "slow"}, "behavioral_profile"),
        ({"metadata": []}, "metadata"),
        ({"metadata": {"a": "x" * 16384}}, "metadata"),
        ({"metadata": {"a": 2**63}}, "metadata"),
        ({"profile_id": 7}, "profile_id"),
        ({"idle_timeout_seconds": 5}, "idle_timeout_seconds"),
        ([], ""),
    ],
)
async def test_wrong_fields_are_named(api: Facade, body: Any, path: str) -> None:
    answer = await api.call("POST", "/v1/sessions", json=body)
    problem = answer.json()
    assert answer.status_code == problem["status"] == 400
    assert problem["type"].endswith("/validation-failed")
    assert [issue["path"] for issue in problem["issues"]] == [path]
    assert all(issue["message"] for issue in problem["issues"])


async def test_bounds_are_inclusive(api: Facade) -> None:
    filler = "x" * (16384 - len('{"a":""}'))
    created = await api.create(label="🙂" * 120, metadata={"a": filler}, archetype=None, purpose=None)
    assert created["label"] == "🙂" * 120
    assert created["metadata"] == {"a": filler}


@pytest.mark.parametrize("profile", ["prof_9d2f0c1e-5b7a-4f0e-8a3d-2c6b1e4f7a90", "nonsense", ""])
async def test_no_profile_exists_yet(api: Facade, profile: str) -> None:
    answer = await api.call("POST", "/v1/sessions", json={"profile_id": profile})
    assert answer.status_code == 404
    assert answer.json()["type"].endswith("/not-found")


@pytest.mark.parametrize(
    "session",
    [
        "ses_9d2f0c1e-5b7a-4f0e-8a3d-2c6b1e4f7a90",
        "sess_9d2f0c1e-5b7a-4f0e-8a3d-2c6b1e4f7a90",
        "9d2f0c1e-5b7a-4f0e-8a3d-2c6b1e4f7a90",
        "ses_9D2F0C1E-5B7A-4F0E-8A3D-2C6B1E4F7A90",
        "ses_",
        "x" * 10_000,
        "%ff%00",
    ],
)
async def test_ids_that_are_none_of_ours_are_not_found(api: Facade, session: str) -> None:
    for method, suffix in (("GET", ""), ("DELETE", ""), ("POST", "/navigate"), ("POST", "/capture")):
        body = {"url": "about:blank"} if suffix == "/navigate" else {"kind": "pdf"}
        answer = await api.call(method, f"/v1/sessions/{session}{suffix}", json=body if suffix else None)
        assert answer.status_code == 404, method
        assert answer.json()["type"].endswith("/not-found")


async def test_another_accounts_session_is_as_unknown_as_any(api: Facade, world: World) -> None:
    world.add_account("other")
    await until(lambda: api.app.state.services.caches.keys.find(world.keys["other"].sha256))
    created = await api.ready()
    headers = {"X-Request-Id": "r"}
    unknown = await api.call("GET", f"/v1/sessions/ses_{UNKNOWN}", key="other", headers=headers)
    theirs = await api.call("GET", f"/v1/sessions/{created['id']}", key="other", headers=headers)
    assert unknown.content == theirs.content
    assert theirs.status_code == 404
    assert (await api.call("DELETE", f"/v1/sessions/{created['id']}", key="other")).status_code == 404
    assert (await api.call("GET", "/v1/sessions", key="other")).json()["data"] == []


async def test_the_cap_is_a_429_with_its_numbers(api: Facade) -> None:
    for _ in range(3):
        await api.ready()
    answer = await api.call("POST", "/v1/sessions")
    assert answer.status_code == 429
    assert answer.json()["type"].endswith("/concurrency-limit")
    assert (answer.json()["current_sessions"], answer.json()["limit"]) == (3, 3)
    assert answer.headers["Retry-After"].isdigit()


async def test_a_create_waits_for_a_quota_that_lags_behind(api: Facade, world: World) -> None:
    world.kube.fail("create browsersessions", QuotaExceeded("exceeded quota: driftstack-sessions"))
    pending = asyncio.create_task(api.call("POST", "/v1/sessions"))
    await until(lambda: world.kube.calls.count(("create", "browsersessions")) >= 3)
    world.kube.failures.clear()
    assert (await pending).status_code == 201


async def test_a_quota_that_never_catches_up_is_a_429_after_two_seconds(api: Facade, world: World) -> None:
    world.kube.fail("create browsersessions", QuotaExceeded("exceeded quota: driftstack-sessions"))
    started = asyncio.get_running_loop().time()
    answer = await api.call("POST", "/v1/sessions")
    assert answer.status_code == 429
    assert answer.json()["current_sessions"] == 0
    assert 1.9 < asyncio.get_running_loop().time() - started < 4


async def test_an_unknown_quota_is_a_503(api: Facade, world: World) -> None:
    world.kube.fail("create browsersessions", QuotaExceeded("status unknown for quota: driftstack-sessions"))
    answer = await api.call("POST", "/v1/sessions")
    assert answer.status_code == 503
    assert answer.json()["type"].endswith("/feature-unavailable")
    assert answer.headers["Retry-After"].isdigit()


async def test_a_create_after_a_delete_succeeds(api: Facade) -> None:
    sessions = [await api.ready() for _ in range(3)]
    for session in sessions:
        assert (await api.call("DELETE", f"/v1/sessions/{session['id']}")).status_code == 204
        await api.ready()


@pytest.mark.parametrize("headers", [{}, {"Idempotency-Key": "k"}])
@pytest.mark.parametrize(
    "error", [NamespaceTerminating("being terminated", status=403), NotFound("no such namespace", status=404)]
)
async def test_an_account_whose_namespace_goes_takes_no_sessions(
    api: Facade, world: World, headers: dict[str, str], error: KubeError
) -> None:
    world.kube.fail("create", error)
    answer = await api.call("POST", "/v1/sessions", headers=headers, json={})
    assert answer.status_code == 503, "the namespace is made anew"
    assert answer.headers["Retry-After"].isdigit()
    account = world.kube.objects["accounts", "", "acme"]
    world.kube.put("accounts", account | {"metadata": account["metadata"] | {"deletionTimestamp": TIMESTAMP}})
    await until(lambda: _account(api).metadata.deletion_timestamp)
    answer = await api.call("POST", "/v1/sessions", headers=headers, json={})
    assert answer.status_code == 409
    assert answer.json()["type"].endswith("/conflict")


async def test_no_api_server_is_a_503_and_reads_go_on(api: Facade, world: World) -> None:
    created = await api.ready()
    for method in ("create", "delete"):
        world.kube.fail(method, Unreachable("connection to 10.0.0.1 refused"))
    for method, path in (("POST", "/v1/sessions"), ("DELETE", f"/v1/sessions/{created['id']}")):
        answer = await api.call(method, path)
        assert answer.status_code == 503
        assert answer.json()["type"].endswith("/feature-unavailable")
        assert "10.0.0.1" not in answer.text
        assert answer.headers["Retry-After"].isdigit()
    assert (await api.call("GET", f"/v1/sessions/{created['id']}")).status_code == 200


async def test_prefer_wait_answers_once_ready(api: Facade, world: World) -> None:
    answer = await api.call("POST", "/v1/sessions", headers={"Prefer": "respond-async, wait=20"})
    assert answer.json()["status"] == "ready"
    assert answer.headers["Preference-Applied"] == "wait=20"
    world.operator.start = False
    answer = await api.call("POST", "/v1/sessions", headers={"Prefer": "wait=0"})
    assert answer.json()["status"] == "creating"


async def test_a_delete_shows_at_once_and_gives_up_waiting_with_503(
    api: Facade, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("driftstack_api.sessions.service.DELETE_SECONDS", 0.2)
    created = await api.ready()
    world.operator.finish = False
    path = f"/v1/sessions/{created['id']}"
    answer = await api.call("DELETE", path)
    assert answer.status_code == 503
    assert answer.headers["Retry-After"].isdigit()
    read = (await api.call("GET", path)).json()
    assert read["status"] == "destroyed"
    assert read["destroyed_at"] >= read["created_at"]
    assert [item["status"] for item in (await api.call("GET", "/v1/sessions")).json()["data"]] == ["destroyed"]
    for step in (api.call("GET", f"{path}/state"), api.call("POST", f"{path}/capture", json={"kind": "pdf"})):
        assert (await step).status_code == 410
    world.operator.end("acct-acme", world.session(created["id"])["metadata"]["name"])
    assert (await api.call("DELETE", path)).status_code == 204


async def test_an_errored_session_stays_errored(api: Facade, world: World) -> None:
    created = await api.ready()
    body = world.session(created["id"])
    # The record is there, but its stream is behind: the object's deletion is seen first.
    world.operator.finish = False
    world.kube.put("sessionrecords", record_of(body, "errored", "BrowserCrashed"))
    await world.kube.delete(Session.KIND, "acct-acme", body["metadata"]["name"])
    path = f"/v1/sessions/{created['id']}"
    for _ in range(3):
        assert (await api.call("GET", path)).json()["status"] == "errored"
    world.kube.remove("browsersessions", "acct-acme", body["metadata"]["name"])
    assert (await api.call("DELETE", path)).status_code == 204
    read = (await api.call("GET", path)).json()
    assert read["status"] == "errored"
    assert read["destroyed_at"] is not None
    listed = (await api.call("GET", "/v1/sessions")).json()["data"]
    assert [(item["id"], item["status"]) for item in listed] == [(created["id"], "errored")]


async def test_a_session_of_kubectl_is_a_session(api: Facade, world: World) -> None:
    world.operator.start = False
    body = world.kube.put(
        "browsersessions",
        {"metadata": {"name": "mine", "namespace": "acct-acme"}, "spec": {}, "status": {"phase": "creating"}},
    )
    answer = await api.call("GET", f"/v1/sessions/ses_{body['metadata']['uid']}")
    assert answer.status_code == 200
    assert answer.json()["api_key_id"] == "key_00000000-0000-0000-0000-000000000000"
    assert answer.json()["archetype"] == "default"
    assert answer.json()["label"] is None


async def test_what_the_watch_has_not_shown_yet_is_found_all_the_same(world: World) -> None:
    async with facade(world) as api:
        world.kube.muted = True
        world.kube.cut()
        live = {"metadata": {"name": "n", "namespace": "acct-acme"}, "spec": {}, "status": {"phase": "creating"}}
        world.kube.fail("list", None)
        stored = world.kube.put("browsersessions", live)
        ended = world.kube.put("browsersessions", {**live, "metadata": {"name": "m", "namespace": "acct-acme"}})
        world.operator.finish = False
        world.operator.end("acct-acme", "m", "errored", "NodeLost")
        for body, status in ((stored, "creating"), (ended, "errored")):
            answer = await api.call("GET", f"/v1/sessions/ses_{body['metadata']['uid']}")
            assert answer.status_code == 200
            assert answer.json()["status"] in (status, "ready")


@pytest.mark.parametrize(
    "query",
    [
        *(
            "limit=0",
            "limit=101",
            "limit=-1",
            "limit=x",
            "limit=",
            "limit=1_0",
            "limit=5.0",
            "limit=%205",
            "limit=٥",
        ),
        *(f"limit={'1' * 5000}", "cursor=", "cursor=abc", "cursor=é"),
    ],
)
async def test_bad_pages_are_refused(api: Facade, query: str) -> None:
    answer = await api.call("GET", f"/v1/sessions?{query}")
    assert answer.status_code == 400
    assert answer.json()["issues"][0]["path"] == query.split("=")[0]


async def test_pages_follow_each_other(api: Facade, world: World) -> None:
    ids = []
    for _ in range(7):
        created = await api.ready()
        ids.append(created["id"])
        await api.call("DELETE", f"/v1/sessions/{created['id']}")
    pages, cursor = [], ""
    while True:
        page = (await api.call("GET", f"/v1/sessions?limit=3{cursor}")).json()
        pages.append([item["id"] for item in page["data"]])
        assert page["has_more"] is (page["next_cursor"] is not None)
        if not page["has_more"]:
            break
        assert len(page["next_cursor"]) <= 512
        cursor = f"&cursor={page['next_cursor']}"
    assert [len(page) for page in pages] == [3, 3, 1]
    assert sorted(session for page in pages for session in page) == sorted(ids)
    world.add_account("other")
    await until(lambda: api.app.state.services.caches.keys.find(world.keys["other"].sha256))
    foreign = await api.call("GET", f"/v1/sessions?limit=3{cursor}", key="other")
    assert foreign.status_code == 400


def _account(api: Facade) -> Any:
    return api.app.state.services.caches.accounts.of_namespace("acct-acme")


async def test_a_wait_for_ready_tells_a_failure_whose_record_is_behind(api: Facade, world: World) -> None:
    world.operator.start = False
    waiting = asyncio.create_task(api.call("POST", "/v1/sessions", headers={"Prefer": "wait=10"}))
    await until(lambda: api.app.state.services.caches.sessions.live_count("acct-acme"))
    body = next(body for (plural, _, _), body in world.kube.objects.items() if plural == "browsersessions")
    world.kube.put("sessionrecords", record_of(body, "errored", "ImageUnavailable"))
    world.kube._log.pop()  # its event comes later
    world.kube.remove("browsersessions", "acct-acme", body["metadata"]["name"])
    assert (await waiting).json()["status"] == "errored"


async def test_a_refusal_of_the_clusters_own_tells_nothing_about_it(api: Facade, world: World) -> None:
    world.kube.fail("create browsersessions", Invalid("ValidatingAdmissionPolicy 'inner' denied it", status=422))
    answer = await api.call("POST", "/v1/sessions")
    assert answer.status_code == 503
    assert "inner" not in answer.text
