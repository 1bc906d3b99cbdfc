"""How endpoints and deliveries look from outside: pure functions from objects to what the wire shows."""

from __future__ import annotations

from datetime import datetime

from driftstack_api.webhooks.schemas import DeliveryCounts, DeliveryObject, WebhookObject
from driftstack_common.kinds import WebhookDelivery, WebhookEndpoint
from driftstack_common.times import format_time, now


def show_endpoint(endpoint: WebhookEndpoint) -> WebhookObject:
    """Return an endpoint as callers see it."""
    spec, status = endpoint.spec, endpoint.status
    previous = spec.previous_secret_ref
    if previous is not None and previous.expires_at <= now():
        previous = None
    return WebhookObject(
        id=endpoint.id,
        url=spec.url,
        secret_prefix=spec.secret_ref.prefix,
        prev_secret_prefix=None if previous is None else previous.prefix,
        rotation_grace_expires_at=None if previous is None else format_time(previous.expires_at),
        events=spec.events,
        description=spec.description or None,
        active=endpoint.live and not spec.paused,
        consecutive_failures=status.consecutive_failures,
        last_success_at=_time(status.last_success_at),
        last_failure_at=_time(status.last_failure_at),
        disabled_at=None if endpoint.live else format_time(endpoint.disabled_at or created(endpoint)),
        delivery_counts=DeliveryCounts(
            delivered=status.counts.delivered, failed=status.counts.failed, dlq=status.counts.dlq
        ),
        created_at=format_time(created(endpoint)),
    )


def show_delivery(delivery: WebhookDelivery, webhook_id: str) -> DeliveryObject:
    """Return a delivery as callers see it."""
    spec, status = delivery.spec, delivery.status
    return DeliveryObject(
        id=delivery.id,
        webhook_id=webhook_id,
        event_id=spec.event_id,
        event_type=spec.event_type,
        status=status.phase,
        attempts=status.attempts,
        next_attempt_at=format_time(status.next_attempt_at or status.last_attempt_at or spec.created_at),
        last_response_status=status.last_response_status,
        last_response_excerpt=status.last_response_excerpt,
        last_error=status.last_error,
        delivered_at=_time(status.delivered_at),
        created_at=format_time(spec.created_at),
    )


def created(endpoint: WebhookEndpoint) -> datetime:
    """Return when an endpoint was made."""
    return endpoint.metadata.creation_timestamp or now()


def _time(moment: datetime | None) -> str | None:
    return None if moment is None else format_time(moment)
