"""WebhookDelivery: one event on its way to one endpoint."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import ClassVar

from driftstack_common.kinds.meta import Kind, Model, Resource
from driftstack_common.names import delivery_id


class EventType(StrEnum):
    """What can happen; TEST_PING is nobody's to subscribe to."""

    SESSION_COMPLETED = "session.completed"
    SESSION_FAILED = "session.failed"
    API_KEY_REVOKED = "api_key.revoked"
    PROFILE_SAVE_FAILED = "session.profile_save_failed"
    TEST_PING = "test.ping"


class DeliveryPhase(StrEnum):
    """How far it is; FAILED has another attempt before it, DELIVERED and DLQ have none."""

    PENDING = "pending"
    IN_FLIGHT = "in_flight"
    DELIVERED = "delivered"
    FAILED = "failed"
    DLQ = "dlq"


class EndpointRef(Model, frozen=True, kw_only=True):
    """The WebhookEndpoint, in the same namespace."""

    name: str
    uid: str


class WebhookDeliverySpec(Model, frozen=True, kw_only=True):
    """What is sent where; immutable.

    Attributes:
        payload: the body, as it is sent in each attempt.
        created_at: when the event happened.
    """

    endpoint: EndpointRef
    event_id: str
    event_type: EventType
    payload: str
    created_at: datetime


class WebhookDeliveryStatus(Model, frozen=True, kw_only=True):
    """What became of it.

    Attributes:
        attempts: so far; a replay begins anew at 0.
        next_attempt_at: None when that is as soon as possible, or never.
        last_response_excerpt: at most 4096 characters.
        last_error: why it has not arrived, at most 1024 characters.
    """

    phase: DeliveryPhase = DeliveryPhase.PENDING
    attempts: int = 0
    next_attempt_at: datetime | None = None
    last_attempt_at: datetime | None = None
    last_response_status: int | None = None
    last_response_excerpt: str | None = None
    last_error: str | None = None
    delivered_at: datetime | None = None


class WebhookDelivery(Resource, frozen=True, kw_only=True):
    """A WebhookDelivery object, in the namespace of its account; its name is a UUID (see delivery_name)."""

    KIND: ClassVar[Kind] = Kind("WebhookDelivery", "webhookdeliveries")
    spec: WebhookDeliverySpec
    status: WebhookDeliveryStatus = WebhookDeliveryStatus()

    @property
    def id(self) -> str:
        """The public id, `wdl_<uuid>`."""
        return delivery_id(self.metadata.name)

    @property
    def finished(self) -> bool:
        """Whether no attempt is before it, unless it is replayed."""
        return self.status.phase in (DeliveryPhase.DELIVERED, DeliveryPhase.DLQ)
