"""Steps: what the agent is asked, what callers get, and how sessions look meanwhile."""

from __future__ import annotations

import asyncio
import base64
from functools import partial
from typing import Any

import pytest

from driftstack_common.agent_token import KeyRing
from driftstack_common.kube.errors import Unreachable
from tests.integration.api.test_problems import check
from tests.integration.api.world import PNG, Facade, World, record_of
from tests.unit.api.polling import until


async def navigate(api: Facade, session: dict[str, Any], **body: Any) -> Any:
    """Start a navigate in a task of its own."""
    call = api.call("POST", f"/v1/sessions/{session['id']}/navigate", json={"url": "http://a.test/", **body})
    return asyncio.create_task(call)


async def status(api: Facade, session: dict[str, Any]) -> str:
    return str((await api.call("GET", f"/v1/sessions/{session['id']}")).json()["status"])


def stored(world: World, session: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = world.session(session["id"])["status"]
    return found


async def test_navigate_and_capture(api: Facade, world: World) -> None:
    session = await api.ready()
    uid = session["id"].removeprefix("ses_")
    answer = await (await navigate(api, session, wait_until="networkidle", timeout_ms=5000))
    assert answer.status_code == 200
    assert answer.json() == {
        "url": "http://a.test/",
        "status": 200,
        "final_url": "https://a.test/",
        "duration_ms": 7,
        "notices": [],
    }
    asked = {"kind": "screenshot", "full_page": True}
    answer = await api.call("POST", f"/v1/sessions/{session['id']}/capture", json=asked)
    assert answer.json() == {
        "kind": "screenshot",
        "data": base64.b64encode(PNG).decode(),
        "encoding": "base64",
        "byte_size": len(PNG),
        "duration_ms": 12,
    }
    assert world.agent.steps == [
        (uid, "navigate", {"url": "http://a.test/", "wait_until": "networkidle", "timeout_ms": 5000}),
        (uid, "capture", {"kind": "screenshot", "full_page": True, "timeout_ms": 30000}),
    ]
    assert world.agent.tokens == {"Bearer " + KeyRing({"1": b"k" * 32}).token(f"browser-{uid}", "1")}


@pytest.mark.parametrize(
    ("refusal", "status_code", "slug"),
    [
        ((502, "page-failed", "net::ERR_CONNECTION_REFUSED"), 502, "driver-error"),
        ((502, "browser-failed", "died at /secret"), 502, "driver-error"),
        ((504, "timeout", "slow"), 504, "session-timeout"),
        ((409, "step-running", "busy"), 409, "conflict"),
        ((410, "ended", "over"), 410, "session-destroyed"),
        ((413, "too-large", "big"), 413, "payload-too-large"),
        ((400, "invalid", "loopback is refused"), 400, "validation-failed"),
        ((401, "unauthorized", "bad token"), 502, "driver-error"),
        ((404, "not-found", "?"), 502, "driver-error"),
        ((503, "starting", "?"), 502, "driver-error"),
    ],
)
async def test_refusals(
    api: Facade, world: World, refusal: tuple[int, str, str], status_code: int, slug: str
) -> None:
    session = await api.ready()
    world.agent.refuse(*refusal, limit_bytes=1, size_bytes=2)
    problem = check(await (await navigate(api, session, timeout_ms=1234)), status_code, slug)
    if slug == "session-timeout":
        assert problem["timeout_ms"] == 1234
    if slug == "validation-failed":
        assert problem["issues"] == [{"path": "url", "message": "loopback is refused"}]
    if slug == "payload-too-large":
        assert (problem["limit_bytes"], problem["size_bytes"]) == (1, 2)
    assert "secret" not in problem["detail"]
    assert await status(api, session) == "ready"


async def test_a_failed_lookup_hints_at_the_missing_route(api: Facade, world: World) -> None:
    session = await api.ready()
    world.agent.refuse(502, "page-failed", "net::ERR_NAME_NOT_RESOLVED")
    detail = check(await (await navigate(api, session)), 502, "driver-error")["detail"]
    assert "ERR_NAME_NOT_RESOLVED" in detail
    assert "EGRESS=on" in detail


async def test_a_step_waits_for_ready(api: Facade, world: World) -> None:
    world.operator.start = False
    session = await api.create()
    step = await navigate(api, session)
    await until(lambda: api.app.state.services.caches.sessions.signals._waiting)
    assert world.agent.steps == []
    world.operator.ready("acct-acme", world.session(session["id"])["metadata"]["name"])
    assert (await step).status_code == 200


async def test_a_step_waits_no_longer_than_its_own_time(api: Facade, world: World) -> None:
    world.operator.start = False
    session = await api.create()
    check(await (await navigate(api, session, timeout_ms=1000)), 409, "conflict")


async def test_a_step_on_an_ended_session_is_gone(api: Facade) -> None:
    session = await api.ready()
    await api.call("DELETE", f"/v1/sessions/{session['id']}")
    check(await (await navigate(api, session)), 410, "session-destroyed")


async def test_a_session_that_ends_while_creating_is_gone(api: Facade, world: World) -> None:
    world.operator.start = False
    session = await api.create()
    step = await navigate(api, session)
    await until(lambda: api.app.state.services.caches.sessions.signals._waiting)
    world.operator.end("acct-acme", world.session(session["id"])["metadata"]["name"], "errored", "ImageUnavailable")
    check(await step, 410, "session-destroyed")


async def test_one_step_at_a_time(api: Facade, world: World) -> None:
    session = await api.ready()
    world.agent.hold.clear()
    first = await navigate(api, session)
    await until(lambda: world.agent.running == 1)
    check(await (await navigate(api, session)), 409, "conflict")
    world.agent.hold.set()
    assert (await first).status_code == 200
    assert (await (await navigate(api, session))).status_code == 200


async def test_a_long_step_is_marked_busy_and_ready_again(api: Facade, world: World) -> None:
    session = await api.ready()
    before = stored(world, session)
    world.agent.hold.clear()
    step = await navigate(api, session)
    await until(lambda: world.agent.running == 1)
    assert await status(api, session) == "busy", "this replica knows at once"
    await until(lambda: stored(world, session)["phase"] == "busy")
    marked = stored(world, session)
    assert marked["step"] == before["step"] + 1
    assert marked["lastTransitionTime"] >= before["lastTransitionTime"], "the same millisecond is possible"
    world.agent.hold.set()
    await step
    assert await status(api, session) == "ready", "this replica knows at once"
    await until(lambda: stored(world, session)["phase"] == "ready")
    assert stored(world, session)["step"] == before["step"] + 1
    await until(lambda: not api.app.state.services.marks._lines)
    assert await status(api, session) == "ready"


async def test_long_steps_in_a_row_are_all_marked(api: Facade, world: World) -> None:
    session = await api.ready()
    for number in (1, 2, 3):
        world.agent.hold.clear()
        step = await navigate(api, session)
        await until(partial(_busy_with, world, session, number))
        world.agent.hold.set()
        await step
    await until(lambda: stored(world, session)["phase"] == "ready")


async def test_a_short_step_writes_nothing(api: Facade, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    # What is short must not depend on how busy the machine is.
    monkeypatch.setattr("driftstack_api.sessions.marks.MARK_AFTER", 10.0)
    session = await api.ready()
    world.kube.calls.clear()
    for _ in range(3):
        assert (await (await navigate(api, session))).status_code == 200
    await until(lambda: not api.app.state.services.marks._lines)
    assert ("patch", "browsersessions") not in world.kube.calls


async def test_marks_that_fail_harm_nothing(api: Facade, world: World) -> None:
    session = await api.ready()
    world.kube.fail("patch", Unreachable("away"))
    world.agent.hold.clear()
    step = await navigate(api, session)
    await until(lambda: ("patch", "browsersessions") in world.kube.calls)
    assert await status(api, session) == "busy"
    world.agent.hold.set()
    assert (await step).status_code == 200
    assert await status(api, session) == "ready"
    await until(lambda: not api.app.state.services.marks._lines)


async def test_delete_wins_against_a_running_step(api: Facade, world: World) -> None:
    session = await api.ready()
    world.agent.hold.clear()
    step = await navigate(api, session)
    await until(lambda: world.agent.running == 1)
    assert (await api.call("DELETE", f"/v1/sessions/{session['id']}")).status_code == 204
    check(await step, 410, "session-destroyed")
    await until(lambda: world.agent.running == 0)


async def test_a_session_that_fails_under_a_step_is_a_502_then_410(api: Facade, world: World) -> None:
    session = await api.ready()
    world.agent.hold.clear()
    step = await navigate(api, session)
    await until(lambda: world.agent.running == 1)
    world.operator.end("acct-acme", world.session(session["id"])["metadata"]["name"], "errored", "BrowserCrashed")
    problem = check(await step, 502, "driver-error")
    assert "BrowserCrashed" in problem["detail"]
    check(await (await navigate(api, session)), 410, "session-destroyed")


async def test_a_pod_that_is_stopped_under_a_step_is_a_502_when_the_session_fails(
    api: Facade, world: World
) -> None:
    session = await api.ready()
    world.agent.refuse(410, "ended", "over", reason="terminated")
    step = await navigate(api, session)
    await until(lambda: not world.agent.script)
    world.operator.end("acct-acme", world.session(session["id"])["metadata"]["name"], "errored", "PodDeleted")
    assert "PodDeleted" in check(await step, 502, "driver-error")["detail"]


async def test_a_pod_that_is_stopped_by_a_delete_is_a_410(api: Facade, world: World) -> None:
    session = await api.ready()
    world.agent.refuse(410, "ended", "over", reason="terminated")
    step = await navigate(api, session)
    await until(lambda: not world.agent.script)
    assert (await api.call("DELETE", f"/v1/sessions/{session['id']}")).status_code == 204
    check(await step, 410, "session-destroyed")


async def test_a_record_that_is_behind_still_makes_it_a_502(api: Facade, world: World) -> None:
    session = await api.ready()
    body = world.session(session["id"])
    world.operator.finish = False
    world.agent.hold.clear()
    step = await navigate(api, session)
    await until(lambda: world.agent.running == 1)
    record = world.kube.put("sessionrecords", record_of(body, "errored", "OutOfMemory"))
    world.kube._log.pop()  # its event comes later
    deleted = {**body, "metadata": {**body["metadata"], "deletionTimestamp": "2026-01-01T00:00:00Z"}}
    world.kube.put("browsersessions", deleted)
    check(await step, 502, "driver-error")
    assert record["metadata"]["name"] == body["metadata"]["uid"]


async def test_an_agent_that_is_not_there_is_a_502(
    api: Facade, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("driftstack_api.sessions.steps.END_SECONDS", 0.1)
    world.agent.address, real = "127.0.0.1:1", world.agent.address
    session = await api.ready()
    problem = check(await (await navigate(api, session)), 502, "driver-error")
    assert "127.0.0.1" not in problem["detail"]
    assert real


async def test_an_agent_that_never_answers_is_a_504(
    api: Facade, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("driftstack_common.agent_client.STEP_GRACE", -0.9)
    session = await api.ready()
    world.agent.hold.clear()
    problem = check(await (await navigate(api, session, timeout_ms=1000)), 504, "session-timeout")
    assert problem["timeout_ms"] == 1000


async def test_a_pod_whose_key_is_unknown_is_a_503(api: Facade, world: World) -> None:
    session = await api.ready()
    body = world.session(session["id"])
    body["status"]["browser"]["tokenKey"] = "2"
    world.kube.put("browsersessions", body)
    sessions = api.app.state.services.caches.sessions
    uid = body["metadata"]["uid"]
    await until(lambda: sessions.get(uid).session.status.browser.token_key == "2")
    check(await (await navigate(api, session)), 503, "feature-unavailable")


def _busy_with(world: World, session: dict[str, Any], step: int) -> bool:
    found = stored(world, session)
    return bool(found["phase"] == "busy" and found["step"] == step)
