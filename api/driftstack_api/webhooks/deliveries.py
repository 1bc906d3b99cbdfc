"""What was sent to endpoints: lists, tests and replays; every method sees the caller's own account only."""

from __future__ import annotations

import contextlib
from typing import Final

from driftstack_api.auth import Caller
from driftstack_api.caches import Caches
from driftstack_api.looks import Looks
from driftstack_api.pagination import encode, position_of
from driftstack_api.problems import Problem, unavailable
from driftstack_api.sessions.idempotency import going
from driftstack_api.webhooks.cache import place
from driftstack_api.webhooks.schemas import DeliveryObject, DeliveryPage, DeliveryQuery, TestSent
from driftstack_api.webhooks.service import ARRIVAL_SECONDS, Webhooks
from driftstack_api.webhooks.view import show_delivery
from driftstack_common.kinds import DeliveryPhase, WebhookDelivery, WebhookEndpoint, from_body
from driftstack_common.kube.client import KubeClient
from driftstack_common.kube.errors import Conflict, NamespaceTerminating, NotFound
from driftstack_common.names import DELIVERY_ID
from driftstack_common.times import now
from driftstack_common.webhooks.deliveries import build_delivery, replay_patch
from driftstack_common.webhooks.events import test_ping

_TRIES: Final = 5
"""How often to read a delivery again that the dispatcher writes at the same time."""


class Deliveries:
    """What callers can do with the deliveries of their account."""

    def __init__(self, client: KubeClient, looks: Looks, caches: Caches, webhooks: Webhooks) -> None:
        self._client = client
        self._looks = looks
        self._caches = caches
        self._webhooks = webhooks

    async def list_page(self, caller: Caller, webhook_id: str, query: DeliveryQuery) -> DeliveryPage:
        """Return a page of an endpoint's deliveries, newest first.

        Raises:
            Problem: not-found, validation-failed (cursor), feature-unavailable while the copy may be out of date.
        """
        if not self._caches.webhooks_fresh:
            raise unavailable("The list of deliveries may be out of date right now.")
        endpoint = await self._webhooks.find(caller, webhook_id)
        uid = endpoint.metadata.uid
        found, more = self._caches.deliveries.page(
            endpoint, query.status, position_of(query.cursor, uid), query.limit
        )
        return DeliveryPage(
            data=[show_delivery(one, endpoint.id) for one in found],
            has_more=more,
            next_cursor=encode(place(found[-1]), uid) if more else None,
        )

    async def test(self, caller: Caller, webhook_id: str) -> TestSent:
        """Have a test event sent to an endpoint, whatever it subscribes to.

        Raises:
            Problem: not-found, conflict (it is disabled), feature-unavailable.
        """
        self._webhooks.need_dispatcher()
        endpoint = await self._webhooks.find_enabled(caller, webhook_id)
        event = test_ping(endpoint.id, now())
        try:
            body = await self._client.create(
                WebhookDelivery.KIND, caller.namespace, build_delivery(endpoint, event)
            )
        except (NamespaceTerminating, NotFound) as error:
            raise going(caller.account) from error
        delivery = from_body(WebhookDelivery, body)
        await self._arrived(delivery)
        return TestSent(delivery_id=delivery.id, event_id=event.id)

    async def replay(self, caller: Caller, delivery_id: str) -> DeliveryObject:
        """Have a delivery sent anew, from the first attempt on; one that was not tried yet is sent anyway.

        Raises:
            Problem: not-found, conflict (its endpoint is disabled, or an attempt is running), feature-unavailable.
        """
        self._webhooks.need_dispatcher()
        match = DELIVERY_ID.fullmatch(delivery_id)
        for _ in range(_TRIES):
            # The copy may be a moment behind the dispatcher: what it has as pending may have arrived.
            delivery = await self._looks.delivery(caller.namespace, match.group(1)) if match else None
            if delivery is None:
                raise Problem("not-found", "There is no such webhook delivery.")
            endpoint = await self._endpoint_of(caller, delivery)
            if delivery.status.phase is DeliveryPhase.IN_FLIGHT:
                raise Problem("conflict", "An attempt is running: replay the delivery when it has failed.")
            if delivery.status.phase is DeliveryPhase.PENDING:
                return show_delivery(delivery, endpoint.id)
            with contextlib.suppress(Conflict, NotFound):  # the dispatcher has written it
                return show_delivery(await self._reset(delivery), endpoint.id)
        raise unavailable("This delivery is being changed by others. Try again.")

    async def _endpoint_of(self, caller: Caller, delivery: WebhookDelivery) -> WebhookEndpoint:
        uid = delivery.spec.endpoint.uid
        endpoint = self._caches.endpoints.get(caller.namespace, uid)
        if endpoint is None:  # another replica may have made it a moment ago
            stored = await self._looks.webhooks(caller.namespace)
            endpoint = next((one for one in stored if one.metadata.uid == uid), None)
        if endpoint is None or not endpoint.live:
            raise Problem("conflict", "The endpoint of this delivery is disabled: nothing is sent to it any more.")
        return endpoint

    async def _reset(self, delivery: WebhookDelivery) -> WebhookDelivery:
        meta, patch = delivery.metadata, replay_patch(delivery, now())
        body = await self._client.merge_patch(WebhookDelivery.KIND, meta.namespace, meta.name, patch, "status")
        return from_body(WebhookDelivery, body)

    async def _arrived(self, delivery: WebhookDelivery) -> None:
        """Wait for the copy, so that the caller's next list shows it."""
        if self._caches.webhooks_fresh:
            await self._caches.deliveries.arrived(delivery, ARRIVAL_SECONDS)
