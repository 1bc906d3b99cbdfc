"""The facade's copy of deliveries: every order of events gives the same pages."""

from __future__ import annotations

import asyncio
import random
import uuid
from datetime import timedelta
from typing import Final

import pytest

from driftstack_api.caches import Caches
from driftstack_api.pagination import Position
from driftstack_api.webhooks.cache import Deliveries, lean_delivery, place
from driftstack_common.kinds import (
    DeliveryPhase,
    EndpointRef,
    EventType,
    SecretRef,
    WebhookDelivery,
    WebhookDeliverySpec,
    WebhookDeliveryStatus,
    WebhookEndpoint,
    WebhookEndpointSpec,
)
from driftstack_common.kinds.meta import Kind, Meta
from driftstack_common.kube.client import Body, KubeClient
from driftstack_common.kube.errors import Unreachable
from driftstack_common.kube.pages import PAGE, SMALL_PAGE
from driftstack_common.times import parse_time
from tests.unit.api.polling import until

START: Final = parse_time("2026-05-12T12:00:00.000Z")
ENDPOINT: Final = WebhookEndpoint(
    metadata=Meta(name="a", namespace="acct-acme", uid="uid-a"),
    spec=WebhookEndpointSpec(url="https://a.test/", events=["session.failed"], secret_ref=SecretRef(name="s")),
)
PHASES: Final = list(DeliveryPhase)


def delivery(number: int, endpoint: str = "a", phase: DeliveryPhase | None = None) -> WebhookDelivery:
    """Return a delivery made so many seconds after the start, two in each; its phase follows from its number."""
    name = str(uuid.uuid5(uuid.NAMESPACE_DNS, f"{endpoint}{number}"))
    return WebhookDelivery(
        metadata=Meta(name=name, namespace="acct-acme", uid=name),
        spec=WebhookDeliverySpec(
            endpoint=EndpointRef(name=endpoint, uid=f"uid-{endpoint}"),
            event_id=str(uuid.UUID(int=number)),
            event_type=EventType.TEST_PING,
            payload="{}" * 100,
            created_at=START + timedelta(seconds=number // 2),
        ),
        status=WebhookDeliveryStatus(phase=phase or PHASES[number % len(PHASES)]),
    )


def walk(cache: Deliveries, limit: int, status: str | None = None) -> list[WebhookDelivery]:
    """Return all pages of the endpoint a as one list."""
    found: list[WebhookDelivery] = []
    before: Position | None = None
    while True:
        page, more = cache.page(ENDPOINT, status, before, limit)
        assert len(page) <= limit
        found += page
        if not more:
            return found
        assert len(page) == limit
        before = place(page[-1])


@pytest.mark.parametrize("limit", [1, 3, 7, 100])
@pytest.mark.parametrize("seed", range(5))
def test_pages_are_whole_and_in_order(limit: int, seed: int) -> None:
    cache, shuffled = Deliveries(), random.Random(seed)  # noqa: S311 - no secret
    alive: dict[str, WebhookDelivery] = {}
    events = [(number, gone) for number in range(40) for gone in (False, number % 3 == 0)]
    shuffled.shuffle(events)
    for number, gone in events:
        one = delivery(number)
        cache.stored(None, delivery(number, "b"))
        if gone and one.metadata.name in alive:
            cache.removed(alive.pop(one.metadata.name))
        elif not gone:
            cache.stored(None, one)
            alive[one.metadata.name] = one
    expected = sorted(alive.values(), key=place, reverse=True)
    assert walk(cache, limit) == expected
    for phase in PHASES:
        assert walk(cache, limit, phase) == [one for one in expected if one.status.phase is phase]


def test_a_change_keeps_the_place() -> None:
    cache = Deliveries()
    for number in range(4):
        cache.stored(None, delivery(number))
    changed = delivery(1, phase=DeliveryPhase.DLQ)
    cache.stored(delivery(1), changed)
    assert [one for one in walk(cache, 2) if one.status.phase is DeliveryPhase.DLQ][-1] == changed
    assert len(walk(cache, 2)) == 4


def test_nothing_is_left_of_what_is_gone() -> None:
    cache = Deliveries()
    one = delivery(1)
    cache.stored(None, one)
    cache.removed(one)
    cache.removed(one)
    assert not cache.knows(one)
    assert cache.page(ENDPOINT, None, None, 10) == ([], False)
    assert (cache._order, cache._by_id) == ({}, {})


def test_a_lean_delivery_has_all_but_its_payload() -> None:
    one = delivery(1)
    lean = lean_delivery(one)
    assert lean.spec.payload == ""
    assert (lean.id, lean.status, lean.spec.event_id, place(lean)) == (
        one.id,
        one.status,
        one.spec.event_id,
        place(one),
    )


class Asked(KubeClient):
    """Notes how many objects a list asks for, and gives none."""

    def __init__(self) -> None:
        self.limits: dict[str, int] = {}

    async def list_objects(self, kind: Kind, namespace: str | None = None, **query: str | int) -> Body:
        self.limits[kind.plural] = int(query["limit"])
        raise Unreachable("away")


async def test_few_bodies_are_read_at_once() -> None:
    asked = Asked()
    running = asyncio.create_task(Caches(asked, "driftstack-system", fresh_seconds=4).run())
    await until(lambda: len(asked.limits) == 8)
    running.cancel()
    assert {plural: limit for plural, limit in asked.limits.items() if limit != PAGE} == {
        "webhookdeliveries": SMALL_PAGE
    }
