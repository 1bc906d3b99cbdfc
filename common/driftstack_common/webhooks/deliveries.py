"""The WebhookDelivery of an event for an endpoint, and its replay. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from driftstack_common.kinds import (
    DeliveryPhase,
    EndpointRef,
    WebhookDelivery,
    WebhookDeliverySpec,
    WebhookEndpoint,
    to_body,
)
from driftstack_common.kinds.meta import Meta
from driftstack_common.names import API_VERSION, LABEL_ENDPOINT, delivery_name
from driftstack_common.times import format_time
from driftstack_common.webhooks.events import Event, payload_of


def subscribed(endpoints: Iterable[WebhookEndpoint], event: Event) -> list[WebhookEndpoint]:
    """Return the endpoints that are told of an event: those that were there when it happened."""
    happened = datetime.fromisoformat(event.created_at)
    told = [
        each for each in endpoints if each.live and event.type in each.spec.events and _created_at(each) <= happened
    ]
    return sorted(told, key=lambda endpoint: endpoint.metadata.name)


def _created_at(endpoint: WebhookEndpoint) -> datetime:
    """Return when it was made; the API server's stamps are whole seconds, and never later."""
    return endpoint.metadata.creation_timestamp or datetime.min.replace(tzinfo=UTC)


def build_delivery(endpoint: WebhookEndpoint, event: Event) -> dict[str, Any]:
    """Return the body of the one delivery of this event to this endpoint; it goes when the endpoint does."""
    meta = endpoint.metadata
    delivery = WebhookDelivery(
        metadata=Meta(
            name=delivery_name(meta.uid, event.id), namespace=meta.namespace, labels={LABEL_ENDPOINT: meta.uid}
        ),
        spec=WebhookDeliverySpec(
            endpoint=EndpointRef(name=meta.name, uid=meta.uid),
            event_id=event.id,
            event_type=event.type,
            payload=payload_of(event),
            created_at=datetime.fromisoformat(event.created_at),
        ),
    )
    body = to_body(delivery)
    body["spec"]["createdAt"] = event.created_at
    body["metadata"]["ownerReferences"] = [
        {"apiVersion": API_VERSION, "kind": WebhookEndpoint.KIND.name, "name": meta.name, "uid": meta.uid}
    ]
    return body


def replay_patch(delivery: WebhookDelivery, moment: datetime) -> dict[str, Any]:
    """Return the merge patch of the status subresource that sends a delivery anew, from the first attempt on.

    It names the version that was seen: of another one it changes nothing (Conflict).
    """
    return {
        "metadata": {"uid": delivery.metadata.uid, "resourceVersion": delivery.metadata.resource_version},
        "status": {
            "phase": DeliveryPhase.PENDING.value,
            "attempts": 0,
            "nextAttemptAt": format_time(moment),
            "lastError": None,
            "deliveredAt": None,
        },
    }
