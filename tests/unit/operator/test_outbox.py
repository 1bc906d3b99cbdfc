"""Deliveries of an end are stored before the session may go, once, whatever happens between."""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
from datetime import timedelta
from typing import Any

import pytest

from driftstack_common.kinds import ApiKey, Session, WebhookDelivery, WebhookEndpoint
from driftstack_common.kube.errors import AlreadyExists, KindGone, KubeError, Unreachable
from driftstack_common.times import format_time, now
from tests.unit.api.polling import until
from tests.unit.operator.builders import NAMESPACE, UID, Body
from tests.unit.operator.rig import Rig
from tests.unit.webhooks.builders import endpoint_body

EVENTS = ["session.completed", "session.failed", "api_key.revoked"]


@pytest.fixture
async def rig() -> Rig:
    rig = Rig()
    put_endpoint(rig)
    await rig.prime()
    await rig.ready()
    return rig


def put_endpoint(rig: Rig, name: str = "hook", number: int = 1, **spec: Any) -> None:
    body = endpoint_body(name, number, **({"events": EVENTS} | spec))
    body["metadata"] |= {"namespace": NAMESPACE, "annotations": {"driftstack.dev/id": "whk_1"}}
    rig.kube.put(WebhookEndpoint.KIND, body)


def delete(rig: Rig) -> None:
    body = rig.session()
    assert body is not None
    body["metadata"]["deletionTimestamp"] = "2026-05-12T13:00:00Z"
    rig.kube.put(Session.KIND, body)


def deliveries(rig: Rig) -> list[Body]:
    return rig.kube.all(WebhookDelivery.KIND)


async def test_one_delivery_for_each_endpoint_that_listens(rig: Rig) -> None:
    put_endpoint(rig, "paused", 2, paused=True)
    put_endpoint(rig, "deaf", 3, events=["api_key.revoked"])
    put_endpoint(rig, "disabled", 4, disabled=True)
    delete(rig)
    await rig.settle()
    assert rig.session() is None
    assert sorted(each["spec"]["endpoint"]["name"] for each in deliveries(rig)) == ["hook", "paused"]
    first, second = (json.loads(each["spec"]["payload"]) for each in deliveries(rig))
    assert first == second
    assert (first["type"], first["data"]["session_id"]) == ("session.completed", f"ses_{UID}")


async def test_errored_session_is_told_as_failed(rig: Rig) -> None:
    rig.end_pod(terminated={"exitCode": 137, "reason": "OOMKilled"})
    await rig.settle()
    (only,) = deliveries(rig)
    data = json.loads(only["spec"]["payload"])["data"]
    assert only["spec"]["eventType"] == "session.failed"
    assert (data["operation"], data["error_name"]) == ("run", data["reason"])


async def test_account_without_endpoints_costs_nothing() -> None:
    rig = Rig()
    await rig.prime()
    await rig.ready()
    before = len(rig.kube.calls)
    delete(rig)
    await rig.settle()
    assert rig.session() is None
    assert [call for call in rig.kube.calls[before:] if call[1].startswith("webhook")] == []


async def test_order_is_record_then_deliveries_then_finalizer(rig: Rig) -> None:
    before = len(rig.kube.calls)
    delete(rig)
    await rig.settle()
    writes = [(verb, plural) for verb, plural, _ in rig.kube.calls[before:]]
    record, delivery = writes.index(("create", "sessionrecords")), writes.index(("create", "webhookdeliveries"))
    assert record < delivery < writes.index(("patch", "browsersessions"))


@pytest.mark.parametrize("after", [False, True], ids=["before it is stored", "after it is stored"])
async def test_crash_at_the_delivery_makes_neither_none_nor_two(rig: Rig, after: bool) -> None:
    rig.kube.fail("create", "webhookdeliveries", asyncio.CancelledError(), after=after)
    delete(rig)
    with contextlib.suppress(asyncio.CancelledError):
        await rig.settle()
    assert rig.session() is not None, "it may not go without its delivery"
    await rig.restart()
    await rig.settle()
    assert rig.session() is None
    assert len(deliveries(rig)) == 1


async def test_failed_write_is_tried_again(rig: Rig) -> None:
    rig.kube.fail("create", "webhookdeliveries", KubeError("busy", status=500))
    delete(rig)
    await rig.settle()
    await until(lambda: rig.session() is None or rig.operator.queue.depth)
    await rig.settle()
    assert rig.session() is None
    assert len(deliveries(rig)) == 1


async def test_unknown_endpoints_hold_the_session_back(rig: Rig) -> None:
    """A watch that may have missed an endpoint must not let an end go untold."""
    copy = rig.operator.outbox._reflector
    copy._proven_at = None
    delete(rig)
    await rig.settle()
    assert rig.session() is not None
    with pytest.raises(Unreachable, match="not known for certain"):
        rig.operator.outbox.listens(NAMESPACE)
    copy._proven_at = math.inf
    await until(lambda: bool(rig.operator.queue.depth))
    await rig.settle()
    assert (rig.session(), len(deliveries(rig))) == (None, 1)


@pytest.mark.parametrize("gone", [True, False])
async def test_cluster_without_webhooks_ends_sessions_all_the_same(gone: bool) -> None:
    rig = Rig(webhooks=gone)
    await rig.prime()
    await rig.ready()
    copy = rig.operator.outbox._reflector
    copy._proven_at, copy.unserved = None, gone
    delete(rig)
    await rig.settle()
    assert rig.session() is None


async def test_kind_that_is_not_served_for_a_moment_loses_no_event(rig: Rig) -> None:
    rig.operator.outbox._reflector.unserved = True
    delete(rig)
    await rig.settle()
    assert (rig.session(), len(deliveries(rig))) == (None, 1)


async def test_delivery_that_can_never_be_stored_holds_nobody_back(rig: Rig) -> None:
    rig.kube.fail("create", "webhookdeliveries", KindGone("no such kind", status=404))
    delete(rig)
    await rig.settle()
    assert (rig.session(), deliveries(rig)) == (None, [])


async def test_endpoint_gets_its_id() -> None:
    rig = Rig()
    await rig.prime()
    rig.kube.put(WebhookEndpoint.KIND, endpoint_body())
    await rig.settle()
    (stored,) = rig.kube.all(WebhookEndpoint.KIND)
    assert stored["metadata"]["annotations"] == {"driftstack.dev/id": f"whk_{stored['metadata']['uid']}"}


def put_key(rig: Rig, **spec: Any) -> Body:
    meta = {"name": "ci", "namespace": NAMESPACE, "annotations": {"driftstack.dev/id": "key_1"}}
    good = {"name": "ci", "scopes": ["read"], "sha256": "0" * 64, "revoked": True}
    body = rig.kube.put(ApiKey.KIND, {"metadata": meta, "spec": good | spec})
    rig.operator.keys._reflector._take({"type": "MODIFIED", "object": body})
    return body


async def test_revocation_is_told_and_marked(rig: Rig) -> None:
    put_key(rig, revokedAt=format_time(now()))
    await rig.settle()
    (only,) = deliveries(rig)
    assert only["spec"]["eventType"] == "api_key.revoked"
    (key,) = rig.kube.all(ApiKey.KIND)
    assert key["metadata"]["annotations"]["driftstack.dev/revocation-told"] == only["spec"]["eventId"]
    rig.kube.vanish(WebhookDelivery.KIND, NAMESPACE, only["metadata"]["name"])  # by retention
    rig.operator.keys._reflector._take({"type": "MODIFIED", "object": key})
    await rig.settle()
    assert deliveries(rig) == []


async def test_revocation_that_was_told_before_a_crash_is_told_once(rig: Rig) -> None:
    rig.kube.fail("create", "webhookdeliveries", AlreadyExists("it exists", status=409))
    put_key(rig, revokedAt=format_time(now()))
    await rig.settle()
    assert deliveries(rig) == []
    (key,) = rig.kube.all(ApiKey.KIND)
    assert "driftstack.dev/revocation-told" in key["metadata"]["annotations"]


async def test_revocation_is_told_however_long_no_operator_ran(rig: Rig) -> None:
    put_key(rig, revokedAt=format_time(now() - timedelta(days=3)))
    await rig.settle()
    assert [each["spec"]["endpoint"]["name"] for each in deliveries(rig)] == ["hook"]


async def test_revocation_that_nobody_listened_to_is_told_to_nobody_later(rig: Rig) -> None:
    put_endpoint(rig, events=["session.failed"])
    put_key(rig, revokedAt=format_time(now()))
    await rig.settle()
    put_endpoint(rig)
    (key,) = rig.kube.all(ApiKey.KIND)
    rig.operator.keys._reflector._take({"type": "MODIFIED", "object": key})
    await rig.settle()
    assert deliveries(rig) == []
