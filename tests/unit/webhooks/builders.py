"""Endpoints and deliveries for tests."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import msgspec

from driftstack_common.kinds import WebhookDelivery, WebhookEndpoint, from_body
from driftstack_common.webhooks import events
from driftstack_common.webhooks.deliveries import build_delivery

NAMESPACE = "acct-acme"
NOW = datetime(2026, 5, 12, 12, 0, tzinfo=UTC)
SECRET = "whsec_" + "A" * 32


def endpoint_body(name: str = "hook", number: int = 1, *, generation: int = 1, **spec: Any) -> dict[str, Any]:
    """Return a WebhookEndpoint as the API server has it."""
    good = {"url": "https://hooks.example.com/in", "events": ["session.completed"], "secretRef": {"name": name}}
    return {
        "metadata": {
            "name": name,
            "namespace": NAMESPACE,
            "uid": str(UUID(int=number, version=4)),
            "generation": generation,
            "resourceVersion": "1",
            "creationTimestamp": "2026-05-12T11:00:00Z",
        },
        "spec": good | spec,
    }


def endpoint(*words: Any, status: dict[str, Any] | None = None, **spec: Any) -> WebhookEndpoint:
    """Return the same, read."""
    return from_body(WebhookEndpoint, endpoint_body(*words, **spec) | {"status": status or {}})


def delivery(to: WebhookEndpoint, number: int = 1, moment: datetime = NOW, **status: Any) -> WebhookDelivery:
    """Return a delivery of the event of this number, which happened at this moment, as the API server has it."""
    event = events.test_ping(to.id, moment)
    event = msgspec.structs.replace(event, id=str(UUID(int=number, version=4)))
    body = build_delivery(to, event)
    body["metadata"] |= {"uid": str(UUID(int=number + 1_000_000, version=4)), "resourceVersion": "1"}
    return from_body(WebhookDelivery, body | {"status": status})


__all__ = ["NAMESPACE", "NOW", "SECRET", "delivery", "endpoint", "endpoint_body"]
