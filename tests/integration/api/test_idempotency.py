"""Idempotency-Key: one session however often, and on however many replicas, a create is sent."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx2
import pytest

from driftstack_common.kube.errors import Unreachable
from tests.integration.api.test_problems import check
from tests.integration.api.world import Facade, World, facade
from tests.unit.api.polling import until


async def create(api: Facade, key: str = "k", **body: Any) -> httpx2.Response:
    return await api.call("POST", "/v1/sessions", headers={"Idempotency-Key": key}, json=body)


def sessions(world: World) -> int:
    return sum(plural == "browsersessions" for plural, _, _ in world.kube.objects)


async def test_the_same_create_again_is_the_same_session(api: Facade, world: World) -> None:
    first = await create(api, label="a", metadata={"x": 1, "y": 2})
    again = await create(api, metadata={"y": 2, "x": 1}, label="a")
    assert first.status_code == again.status_code == 201
    assert "Idempotent-Replayed" not in first.headers
    assert again.headers["Idempotent-Replayed"] == "1"
    assert again.json()["id"] == first.json()["id"]
    assert sessions(world) == 1
    other = await create(api, "other", label="a")
    assert other.json()["id"] != first.json()["id"]


async def test_another_body_is_a_conflict(api: Facade) -> None:
    await create(api, label="a")
    check(await create(api, label="b"), 409, "conflict")


async def test_it_holds_after_the_end(api: Facade) -> None:
    first = (await create(api)).json()
    await api.call("DELETE", f"/v1/sessions/{first['id']}")
    again = await create(api)
    assert again.json()["id"] == first["id"]
    assert again.json()["status"] == "destroyed"


async def test_accounts_do_not_share_keys(api: Facade, world: World) -> None:
    world.add_account("other")
    await until(lambda: api.app.state.services.caches.keys.find(world.keys["other"].sha256))
    first = await create(api)
    theirs = await api.call("POST", "/v1/sessions", key="other", headers={"Idempotency-Key": "k"}, json={})
    assert theirs.status_code == 201
    assert theirs.json()["id"] != first.json()["id"]


async def test_two_replicas_in_the_same_moment(world: World) -> None:
    async with facade(world) as one, facade(world) as two:
        answers = await asyncio.gather(*(create(api) for api in (one, two, one, two)))
    assert [answer.status_code for answer in answers] == [201] * 4
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert sum("Idempotent-Replayed" not in answer.headers for answer in answers) == 1
    assert world.kube.calls.count(("create", "browsersessions")) == 1, "nobody bumped into the name"


async def test_a_replica_that_died_between_the_writes(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("driftstack_api.sessions.idempotency.ATTEMPT_SECONDS", 0.5)
    monkeypatch.setattr("driftstack_api.sessions.idempotency.POLL_SECONDS", 0.02)
    async with facade(world) as one, facade(world) as two:
        world.kube.fail("create browsersessions", Unreachable("died"))
        check(await create(one), 503, "feature-unavailable")
        world.kube.failures.clear()
        answers = await asyncio.gather(create(one), create(two))
        made = [answer for answer in answers if answer.status_code == 201]
        assert made
        assert all(answer.status_code in (201, 503) for answer in answers)
        assert sessions(world) == 1
        again = await create(two)
        assert again.json()["id"] == made[0].json()["id"]


async def test_an_answer_that_was_lost_is_found_again(api: Facade, world: World) -> None:
    # The session was stored, but the facade never learned of it.
    world.kube.after_create = lambda body: _lose(body)
    check(await create(api), 503, "feature-unavailable")
    world.kube.after_create = lambda _: None
    again = await create(api)
    assert again.headers["Idempotent-Replayed"] == "1"
    assert sessions(world) == 1


async def test_a_refused_create_frees_the_key(api: Facade, world: World) -> None:
    for _ in range(3):
        await api.ready()
    check(await create(api), 429, "concurrency-limit")
    assert not [key for key in world.kube.objects if key[0] == "createrequests"]
    listed = (await api.call("GET", "/v1/sessions")).json()["data"]
    await api.call("DELETE", f"/v1/sessions/{listed[0]['id']}")
    assert (await create(api)).status_code == 201


async def test_who_waits_for_a_create_that_is_refused_learns_of_it_soon(world: World) -> None:
    async with facade(world) as one, facade(world) as two:
        for _ in range(3):
            await one.ready()
        started = asyncio.get_running_loop().time()
        answers = await asyncio.gather(*(create(api) for api in (one, two, one)))
        assert asyncio.get_running_loop().time() - started < 5
    assert {answer.status_code for answer in answers} <= {429, 503}
    assert not [key for key in world.kube.objects if key[0] == "createrequests"]
    assert sessions(world) == 3


async def test_a_session_that_history_has_forgotten_is_not_made_again(
    api: Facade, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("driftstack_api.sessions.idempotency.FORGOTTEN_SECONDS", 0)
    first = (await create(api)).json()
    await api.call("DELETE", f"/v1/sessions/{first['id']}")
    uid = first["id"].removeprefix("ses_")
    world.kube.remove("sessionrecords", "acct-acme", uid)
    await until(lambda: api.app.state.services.caches.sessions.get(uid) is None)
    check(await create(api), 409, "conflict")


@pytest.mark.parametrize("keys", [["x" * 256], ["caf\u00e9"], [""], ["   "], ["a\tb"], ["k", "k"]])
async def test_odd_keys(api: Facade, world: World, keys: list[str]) -> None:
    headers = [(b"Idempotency-Key", key.encode("latin-1")) for key in keys]
    headers.append((b"Authorization", f"Bearer {world.keys['acme'].plaintext}".encode()))
    request = httpx2.Request("POST", "http://facade/v1/sessions", headers=headers)
    problem = check(await api.http.send(request), 400, "validation-failed")
    assert [issue["path"] for issue in problem["issues"]] == ["Idempotency-Key"]
    assert sessions(world) == 0, "a key that was ignored would not keep a second session from being made"


@pytest.mark.parametrize("key", ["x" * 255, "!", "a b"])
async def test_keys_of_all_lengths_and_characters(api: Facade, key: str) -> None:
    assert (await create(api, key)).json()["id"] == (await create(api, key)).json()["id"]


def _lose(body: dict[str, Any]) -> None:
    if "sessionName" not in body["spec"]:
        raise Unreachable("the answer was lost")
