"""Deliveries over REST: listed in pages, tested, replayed."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from typing import Any

import pytest

from driftstack_common.kinds import WebhookDelivery, WebhookEndpoint, from_body
from driftstack_common.kube.client import Body
from driftstack_common.kube.errors import Unreachable
from driftstack_common.times import format_time, now
from driftstack_common.webhooks.deliveries import build_delivery
from driftstack_common.webhooks.events import test_ping as ping
from tests.integration.api.test_auth import known
from tests.integration.api.test_problems import check
from tests.integration.api.test_webhooks import make, put, stored
from tests.integration.api.world import Facade, World, facade
from tests.unit.api.polling import until

PHASES = ["pending", "in_flight", "delivered", "failed", "dlq"]
UNKNOWN = "wdl_9d2f0c1e-5b7a-4f0e-8a3d-2c6b1e4f7a90"


def send(world: World, webhook_id: str, *, minute: int = 0, **status: Any) -> str:
    """Put a delivery to an endpoint as the operator would; return its public id."""
    endpoint = from_body(WebhookEndpoint, stored(world, webhook_id))
    body = build_delivery(endpoint, ping(webhook_id, now() - timedelta(hours=1) + timedelta(minutes=minute)))
    if status:
        body["status"] = status
    return f"wdl_{world.kube.put('webhookdeliveries', body)['metadata']['name']}"


def delivery(world: World, delivery_id: str, namespace: str = "acct-acme") -> Body:
    """Return the object of a delivery."""
    return world.kube.objects["webhookdeliveries", namespace, delivery_id.removeprefix("wdl_")]


async def arrived(api: Facade, delivery_id: str, namespace: str = "acct-acme") -> WebhookDelivery:
    """Wait until this replica knows a delivery; return its copy."""
    caches = api.app.state.services.caches
    read = from_body(WebhookDelivery, delivery(api.world, delivery_id, namespace))
    await until(lambda: caches.deliveries.knows(read))
    (copy,) = (one for one in _copies(api, namespace) if one.id == delivery_id)
    return copy


def _copies(api: Facade, namespace: str) -> list[WebhookDelivery]:
    (_, reflector) = api.app.state.services.caches._webhooks
    return [one for (where, _), one in reflector.objects.items() if where == namespace]


async def listed(api: Facade, webhook_id: str, query: str = "") -> dict[str, Any]:
    answer = await api.call("GET", f"/v1/webhooks/{webhook_id}/deliveries{query}")
    assert answer.status_code == 200, answer.text
    page: dict[str, Any] = answer.json()
    return page


async def replay(api: Facade, delivery_id: str, key: str = "acme") -> Any:
    return await api.call("POST", f"/v1/webhook-deliveries/{delivery_id}/replay", key=key, json={})


async def test_a_test_event(api: Facade, world: World) -> None:
    made = await make(api)
    answer = await api.call("POST", f"/v1/webhooks/{made['id']}/test", json={})
    assert answer.status_code == 202
    told = answer.json()
    assert set(told) == {"delivery_id", "event_id", "event_type"}
    assert told["event_type"] == "test.ping"
    assert re.fullmatch("[0-9a-f-]{36}", told["event_id"])
    (shown,) = (await listed(api, made["id"]))["data"]
    assert shown == {
        "id": told["delivery_id"],
        "webhook_id": made["id"],
        "event_id": told["event_id"],
        "event_type": "test.ping",
        "status": "pending",
        "attempts": 0,
        "next_attempt_at": shown["created_at"],
        "last_response_status": None,
        "last_response_excerpt": None,
        "last_error": None,
        "delivered_at": None,
        "created_at": shown["created_at"],
    }
    body = delivery(world, told["delivery_id"])
    payload = json.loads(body["spec"]["payload"])
    assert payload == {
        "id": told["event_id"],
        "type": "test.ping",
        "created_at": shown["created_at"],
        "data": {"webhook_id": made["id"]},
    }
    (owner,) = body["metadata"]["ownerReferences"]
    assert f"whk_{owner['uid']}" == made["id"]
    again = (await api.call("POST", f"/v1/webhooks/{made['id']}/test", json={})).json()
    assert again["event_id"] != told["event_id"]


async def test_pages_newest_first(api: Facade, world: World) -> None:
    webhook_id, other = put(world, "a"), put(world, "b")
    ids = [send(world, webhook_id, minute=minute) for minute in (0, 2, 1, 4, 3, 3)]
    await arrived(api, send(world, other))
    whole = (await listed(api, webhook_id))["data"]
    assert len(whole) == 6
    assert [one["created_at"] for one in whole] == sorted((one["created_at"] for one in whole), reverse=True)
    seen, cursor = [], ""
    while True:
        page = await listed(api, webhook_id, f"?limit=2{cursor}")
        seen += page["data"]
        if len(seen) == 2:  # what comes and goes meanwhile moves nothing else
            world.kube.remove("webhookdeliveries", "acct-acme", seen[0]["id"][4:])
            await arrived(api, send(world, webhook_id, minute=50))
        if not page["has_more"]:
            assert page["next_cursor"] is None
            break
        cursor = f"&cursor={page['next_cursor']}"
    assert [one["id"] for one in seen] == [one["id"] for one in whole]
    assert {one["id"] for one in seen} == set(ids)


async def test_by_status(api: Facade, world: World) -> None:
    webhook_id = put(world, "a")
    for minute in range(10):
        last = send(world, webhook_id, minute=minute, phase=PHASES[minute % 5])
    await arrived(api, last)
    for phase in PHASES:
        first = await listed(api, webhook_id, f"?status={phase}&limit=1")
        assert first["has_more"] is True
        rest = await listed(api, webhook_id, f"?status={phase}&limit=1&cursor={first['next_cursor']}")
        assert rest["has_more"] is False
        assert [one["status"] for one in first["data"] + rest["data"]] == [phase] * 2


@pytest.mark.parametrize(
    ("query", "path"),
    [
        ("limit=0", "limit"),
        ("limit=101", "limit"),
        ("status=lost", "status"),
        ("cursor=x", "cursor"),
        ("cursor=", "cursor"),
        ("cursor=" + "A" * 513, "cursor"),
        ("page=2", "page"),
    ],
)
async def test_what_no_query_can_be(api: Facade, world: World, query: str, path: str) -> None:
    answer = await api.call("GET", f"/v1/webhooks/{put(world, 'a')}/deliveries?{query}")
    assert [issue["path"] for issue in check(answer, 400, "validation-failed")["issues"]] == [path]


async def test_a_cursor_belongs_to_its_list(api: Facade, world: World) -> None:
    webhook_id, other = put(world, "a"), put(world, "b")
    for minute in range(2):
        await arrived(api, send(world, webhook_id, minute=minute))
    cursor = (await listed(api, webhook_id, "?limit=1"))["next_cursor"]
    answer = await api.call("GET", f"/v1/webhooks/{other}/deliveries?cursor={cursor}")
    check(answer, 400, "validation-failed")


ENDED: dict[str, Any] = {
    "attempts": 6,
    "nextAttemptAt": "2026-05-12T14:00:00.000Z",
    "lastResponseStatus": 500,
    "lastResponseExcerpt": "no database",
    "lastError": "the receiver answered 500",
}


@pytest.mark.parametrize("phase", ["failed", "dlq", "delivered"])
async def test_a_replay_begins_anew(api: Facade, world: World, phase: str) -> None:
    delivered = {"deliveredAt": format_time(now())} if phase == "delivered" else {}
    delivery_id = send(world, put(world, "a"), phase=phase, **ENDED, **delivered)
    await arrived(api, delivery_id)
    before = delivery(world, delivery_id)["spec"]
    answer = await replay(api, delivery_id)
    assert answer.status_code == 200, answer.text
    shown = answer.json()
    assert (shown["status"], shown["attempts"], shown["delivered_at"]) == ("pending", 0, None)
    assert (shown["id"], shown["event_id"]) == (delivery_id, before["eventId"])
    assert delivery(world, delivery_id)["spec"] == before
    assert delivery(world, delivery_id)["status"]["phase"] == "pending"


async def test_a_replay_of_what_is_under_way(api: Facade, world: World) -> None:
    webhook_id = put(world, "a")
    waiting, running = send(world, webhook_id), send(world, webhook_id, phase="in_flight", attempts=1)
    for one in (waiting, running):
        await arrived(api, one)
    version = delivery(world, waiting)["metadata"]["resourceVersion"]
    answer = await replay(api, waiting)
    assert (answer.status_code, answer.json()["status"]) == (200, "pending")
    assert delivery(world, waiting)["metadata"]["resourceVersion"] == version, "it is sent anyway"
    assert "attempt is running" in check(await replay(api, running), 409, "conflict")["detail"]


async def test_a_replay_beside_the_dispatcher(api: Facade, world: World) -> None:
    delivery_id = send(world, put(world, "a"), phase="dlq", **ENDED)
    await arrived(api, delivery_id)
    world.kube.muted = True  # the copy learns of nothing for now
    body = json.loads(json.dumps(delivery(world, delivery_id)))
    body["status"]["lastError"] = "as of a moment ago"
    world.kube.put("webhookdeliveries", body)
    answer = await replay(api, delivery_id)
    assert (answer.status_code, answer.json()["last_error"]) == (200, None)


async def test_nothing_is_sent_to_a_disabled_endpoint(api: Facade, world: World) -> None:
    webhook_id = put(world, "a")
    delivery_id = send(world, webhook_id, phase="dlq", **ENDED)
    await arrived(api, delivery_id)
    assert (await api.call("DELETE", f"/v1/webhooks/{webhook_id}")).status_code == 204
    assert "disabled" in check(await replay(api, delivery_id), 409, "conflict")["detail"]
    (shown,) = (await listed(api, webhook_id))["data"]
    assert shown["last_response_excerpt"] == "no database", "history stays"


async def test_what_is_anothers_is_not_there(api: Facade, world: World) -> None:
    world.add_account("other")
    await known(api, "other")
    theirs = send(world, put(world, "a", "other"), phase="dlq", **ENDED)
    await arrived(api, theirs, "acct-other")
    for delivery_id in (theirs, UNKNOWN, "wdl_1", theirs[4:], theirs.upper(), theirs.replace("wdl", "whk")):
        problem = check(await replay(api, delivery_id), 404, "not-found")
        assert problem["detail"] == "There is no such webhook delivery."
    assert (await replay(api, theirs, key="other")).status_code == 200


async def test_while_the_copy_may_be_old(world: World) -> None:
    webhook_id = put(world, "a")
    delivery_id = send(world, webhook_id, phase="dlq", **ENDED)
    async with facade(world, fresh_seconds=0.5) as api:
        world.kube.fail("watch webhookdeliveries", Unreachable("away"))
        world.kube.fail("list webhookdeliveries", Unreachable("away"))
        world.kube.cut()
        await until(lambda: not api.app.state.services.caches.webhooks_fresh, 10)
        check(await api.call("GET", f"/v1/webhooks/{webhook_id}/deliveries"), 503, "feature-unavailable")
        assert (await replay(api, delivery_id)).status_code == 200, "a single one can be looked at"


async def test_copies_hold_no_payloads(api: Facade, world: World) -> None:
    delivery_id = send(world, put(world, "a"))
    assert (await arrived(api, delivery_id)).spec.payload == ""


async def test_what_no_id_can_be_made_of_is_left_out(api: Facade, world: World) -> None:
    webhook_id = put(world, "a")
    endpoint = from_body(WebhookEndpoint, stored(world, webhook_id))
    odd = build_delivery(endpoint, ping(webhook_id, now()))
    odd["metadata"]["name"] = "by-hand"
    world.kube.put("webhookdeliveries", odd)
    right = [send(world, webhook_id, minute=minute) for minute in (0, 1)]
    await arrived(api, right[1])
    assert [one["id"] for one in (await listed(api, webhook_id, "?limit=1"))["data"]] == right[1:]
    assert [one["id"] for one in (await listed(api, webhook_id))["data"]] == right[::-1]


async def test_a_replay_at_a_replica_that_does_not_know_the_endpoint_yet(api: Facade, world: World) -> None:
    world.kube.muted = True
    delivery_id = send(world, put(world, "a"), phase="dlq", **ENDED)
    assert (await replay(api, delivery_id)).status_code == 200
