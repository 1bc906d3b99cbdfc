"""What callers get while the copies can't be trusted, or the API server can't be asked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from driftstack_common.kube.errors import KubeError, NotFound, Unreachable
from tests.integration.api.test_problems import check
from tests.integration.api.test_steps import navigate
from tests.integration.api.world import Facade, World, facade, record_of
from tests.unit.api.polling import until


@pytest.fixture
async def api(world: World) -> AsyncIterator[Facade]:
    """A facade that trusts a copy for 0.2 s after its proof, so that it hardly ever does without a new list."""
    async with facade(world, fresh_seconds=0.2) as made:
        yield made


async def blind(api: Facade) -> None:
    """Silence all watches; wait until that is noticed."""
    api.world.kube.blind()
    caches = api.app.state.services.caches
    await until(lambda: not (caches.credentials_fresh or caches.sessions_fresh or caches.archetypes_fresh))


def unavailable(answer: Any) -> str:
    """Assert that this is a 503 that says when to try again; return its detail."""
    assert int(answer.headers["Retry-After"]) >= 1
    return str(check(answer, 503, "feature-unavailable")["detail"])


async def read(api: Facade, session: dict[str, Any]) -> Any:
    return await api.call("GET", f"/v1/sessions/{session['id']}")


def place(world: World, session: dict[str, Any]) -> tuple[str, str]:
    return "acct-acme", str(world.session(session["id"])["metadata"]["name"])


def quietly_record(world: World, session: dict[str, Any], phase: str) -> None:
    """Have a record in the API server that no watch has told of."""
    record = record_of(world.session(session["id"]), phase, "Evicted")
    record["metadata"] |= {"uid": "r", "resourceVersion": "1"}
    world.kube.objects["sessionrecords", "acct-acme", record["metadata"]["name"]] = record


async def test_a_key_that_may_be_new_is_not_called_unknown(api: Facade, world: World) -> None:
    await blind(api)
    world.add_key("acme", "young", ["read"])
    unavailable(await api.call("GET", "/v1/whoami", key="young"))
    check(await api.call("GET", "/v1/whoami", key=None), 401, "unauthorized")
    world.kube.failures.clear()
    await until(lambda: api.app.state.services.caches.keys.find(world.keys["young"].sha256))
    assert (await api.call("GET", "/v1/whoami", key="young")).status_code == 200


async def test_a_single_session_is_read_from_the_api_server(api: Facade, world: World) -> None:
    world.operator.start = False
    session = await api.create()
    await blind(api)
    world.operator.ready(*place(world, session))
    assert (await read(api, session)).json()["status"] == "ready"
    world.operator.end(*place(world, session), "errored", "Evicted")
    assert (await read(api, session)).json()["status"] == "errored"
    world.kube.fail("get", Unreachable("away"))
    unavailable(await read(api, session))


async def test_a_session_that_left_no_record_is_destroyed(api: Facade, world: World) -> None:
    session = await api.ready()
    await blind(api)
    world.kube.remove("browsersessions", *place(world, session))
    assert (await read(api, session)).json()["status"] == "destroyed"


async def test_a_list_that_may_be_out_of_date_is_refused(api: Facade, world: World) -> None:
    session = await api.create()
    await blind(api)
    unavailable(await api.call("GET", "/v1/sessions"))
    world.kube.failures.clear()
    await until(lambda: api.app.state.services.caches.sessions_fresh)
    answer = await api.call("GET", "/v1/sessions")
    assert [shown["id"] for shown in answer.json()["data"]] == [session["id"]]


async def test_delete_needs_no_watch(api: Facade, world: World) -> None:
    session = await api.ready()
    await blind(api)
    assert (await api.call("DELETE", f"/v1/sessions/{session['id']}")).status_code == 204
    assert not any(plural == "browsersessions" for plural, _, _ in world.kube.objects)
    assert (await read(api, session)).json()["status"] == "destroyed"
    assert (await api.call("DELETE", f"/v1/sessions/{session['id']}")).status_code == 204


@pytest.mark.parametrize("trusted", [True, False])
async def test_delete_of_what_is_gone_by_then(world: World, *, trusted: bool) -> None:
    async with facade(world, fresh_seconds=60 if trusted else 0.01) as api:
        session = await api.ready()
        world.kube.fail("delete", NotFound("not found", status=404))
        world.kube.muted = True
        world.operator.finish = False
        assert (await api.call("DELETE", f"/v1/sessions/{session['id']}")).status_code == 204
        if trusted:
            assert (await read(api, session)).json()["status"] == "destroyed", "although no watch has told"


async def test_a_delete_shows_at_once_where_it_was_accepted(world: World) -> None:
    async with facade(world, fresh_seconds=60) as api:
        session = await api.ready()
        world.operator.finish = False
        world.kube.blind()
        deleting = asyncio.create_task(api.call("DELETE", f"/v1/sessions/{session['id']}"))
        await until(lambda: ("delete", "browsersessions") in world.kube.calls)
        await until(lambda: world.session(session["id"])["metadata"].get("deletionTimestamp"))
        assert (await read(api, session)).json()["status"] == "destroyed"
        world.operator.end(*place(world, session))
        assert (await deleting).status_code == 204
        uid = session["id"].removeprefix("ses_")
        assert api.app.state.services.caches.sessions.get(uid).gone, "so that its slot counts as free"


async def test_a_delete_that_takes_long_is_a_503_and_can_be_repeated(
    api: Facade, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("driftstack_api.sessions.service.DELETE_SECONDS", 0.3)
    session = await api.ready()
    world.operator.finish = False
    world.kube.hanging.add("delete")
    unavailable(await api.call("DELETE", f"/v1/sessions/{session['id']}"))
    world.kube.hanging.clear()
    unavailable(await api.call("DELETE", f"/v1/sessions/{session['id']}"))
    world.operator.end(*place(world, session))
    assert (await api.call("DELETE", f"/v1/sessions/{session['id']}")).status_code == 204


async def test_a_late_record_never_shows_a_failure_as_an_end(world: World) -> None:
    async with facade(world, fresh_seconds=60) as api:
        headers = {"Idempotency-Key": "k"}
        session = (await api.call("POST", "/v1/sessions", headers=headers, json={})).json()
        await api.until_phase(session, "ready")
        quietly_record(world, session, "errored")
        world.kube.remove("browsersessions", *place(world, session))
        uid = session["id"].removeprefix("ses_")
        await until(lambda: api.app.state.services.caches.sessions.get(uid).gone)
        listed = (await api.call("GET", "/v1/sessions")).json()["data"]
        assert [shown["status"] for shown in listed] == ["errored"]
        again = await api.call("POST", "/v1/sessions", headers=headers, json={})
        assert again.headers["Idempotent-Replayed"] == "1"
        assert again.json()["status"] == "errored"


async def test_creates_go_on_while_the_copies_are_old(api: Facade, world: World) -> None:
    await blind(api)
    answer = await api.call("POST", "/v1/sessions", json={"archetype": "iphone_16"}, headers={"Prefer": "wait=5"})
    assert answer.status_code == 201
    assert answer.json()["status"] == "ready", "read from the API server"
    unavailable(await api.call("POST", "/v1/sessions", json={"archetype": "brand_new"}))


async def test_a_full_account_is_told_its_cap_although_the_count_is_old(api: Facade, world: World) -> None:
    world.add_account("small", limit=1)
    await until(lambda: api.app.state.services.caches.keys.find(world.keys["small"].sha256))
    await blind(api)
    assert (await api.call("POST", "/v1/sessions", key="small")).status_code == 201
    problem = check(await api.call("POST", "/v1/sessions", key="small"), 429, "concurrency-limit")
    assert (problem["current_sessions"], problem["limit"]) == (1, 1)


async def test_a_created_session_is_told_even_if_it_cannot_be_followed(api: Facade, world: World) -> None:
    world.operator.start = False
    await blind(api)
    world.kube.after_create = lambda _: world.kube.fail("get", Unreachable("away"))
    answer = await api.call("POST", "/v1/sessions", headers={"Prefer": "wait=3"})
    assert answer.status_code == 201
    assert answer.json()["status"] == "creating"


async def test_a_repeated_create_makes_no_second_session_while_history_is_old(api: Facade, world: World) -> None:
    headers = {"Idempotency-Key": "k"}
    await blind(api)
    session = (await api.call("POST", "/v1/sessions", headers=headers, json={})).json()
    again = await api.call("POST", "/v1/sessions", headers=headers, json={})
    assert again.json()["id"] == session["id"]
    world.operator.end(*place(world, session))
    unavailable(await api.call("POST", "/v1/sessions", headers=headers, json={}))
    assert not any(plural == "browsersessions" for plural, _, _ in world.kube.objects)


async def test_steps_go_on_while_the_copies_are_old(api: Facade, world: World) -> None:
    session = await api.ready()
    young = await api.create()
    await blind(api)
    assert (await (await navigate(api, session))).status_code == 200
    assert (await (await navigate(api, young))).status_code == 200, "it became ready unseen"
    world.operator.end(*place(world, session))
    check(await (await navigate(api, session)), 410, "session-destroyed")
    world.kube.fail("get", Unreachable("away"))
    unavailable(await (await navigate(api, young)))


async def test_a_step_under_way_needs_no_api_server(api: Facade, world: World) -> None:
    session = await api.ready()
    world.agent.hold.clear()
    step = await navigate(api, session)
    await until(lambda: world.agent.running)
    await blind(api)
    for method in ("get", "patch"):
        world.kube.fail(method, Unreachable("away"))
    world.agent.hold.set()
    assert (await step).status_code == 200


@pytest.mark.parametrize(
    ("phase", "status", "slug"), [("destroyed", 410, "session-destroyed"), ("errored", 502, "driver-error")]
)
async def test_a_step_whose_session_ended_unseen(
    api: Facade, world: World, phase: str, status: int, slug: str
) -> None:
    session = await api.ready()
    world.agent.hold.clear()
    step = await navigate(api, session)
    await until(lambda: world.agent.running)
    await blind(api)
    world.operator.end(*place(world, session), phase, "Evicted")
    world.agent.refuse(410, "ended", "over", reason="terminated")
    world.agent.hold.set()
    check(await step, status, slug)


async def test_what_is_never_answered_is_a_503_in_time(
    api: Facade, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("driftstack_api.looks.LOOK_SECONDS", 0.2)
    session = await api.ready()
    await blind(api)
    world.kube.hanging.add("get")
    async with asyncio.timeout(15):  # one after the other would take 20 s
        answers = await asyncio.gather(*(read(api, session) for _ in range(100)))
    for answer in answers:
        unavailable(answer)


@pytest.mark.parametrize("status", [401, 403, 429, 500, 503])
async def test_a_starting_api_server_makes_no_500(api: Facade, world: World, status: int) -> None:
    session = await api.ready()
    await blind(api)
    for method in ("get", "create", "delete"):
        world.kube.fail(method, KubeError("starting", status=status))
    for method, path in (
        ("GET", f"/v1/sessions/{session['id']}"),
        ("GET", "/v1/sessions"),
        ("POST", "/v1/sessions"),
        ("DELETE", f"/v1/sessions/{session['id']}"),
        ("GET", "/v1/whoami"),
    ):
        unavailable(await api.call(method, path))


async def test_a_slow_api_server_slows_and_stops_nothing_but_lists(world: World) -> None:
    # All times are a tenth of the real ones: an answer takes 5 s, a copy is trusted for 4 s, a look may take 7 s.
    async with facade(world, fresh_seconds=0.4) as api:
        session = await api.ready()
        world.kube.slowness = 0.5
        await until(lambda: not api.app.state.services.caches.sessions_fresh)
        assert (await read(api, session)).json()["status"] == "ready"
        assert (await (await navigate(api, session))).status_code == 200
        created = await api.call("POST", "/v1/sessions", headers={"Idempotency-Key": "k"}, json={})
        assert created.status_code == 201
        assert (await api.call("DELETE", f"/v1/sessions/{session['id']}")).status_code == 204
        unavailable(await api.call("GET", "/v1/sessions"))
