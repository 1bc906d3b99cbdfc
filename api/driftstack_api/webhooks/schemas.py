"""The wire: what `/v1/webhooks` and `/v1/webhook-deliveries` take and give."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal, Self

from fastapi import Path
from pydantic import AfterValidator, ConfigDict, Field, model_validator

from driftstack_api.sessions.schemas import (
    CREATED_EXAMPLE,
    CURSOR_EXAMPLE,
    TIME_EXAMPLE,
    UUID_PATTERN,
    AnswerModel,
    PageQuery,
    RequestModel,
    Time,
)
from driftstack_common.kinds import SubscribableEvent

Status = Literal["pending", "in_flight", "delivered", "failed", "dlq"]

WEBHOOK_ID: Final = f"^whk_{UUID_PATTERN}$"
DELIVERY_ID: Final = f"^wdl_{UUID_PATTERN}$"
WEBHOOK_ID_EXAMPLE: Final = "whk_5e0d8a47-1c3b-4f62-9a7e-6b2d0c4f8e13"
DELIVERY_ID_EXAMPLE: Final = "wdl_c41d9e02-7f5a-4b8c-a3d6-0e9b1f2a7c58"
EVENT_ID_EXAMPLE: Final = "0b7f4a6e-3d92-4c15-8e0f-a1c5d7b9e264"
URL_EXAMPLE: Final = "https://example.com/driftstack-events"
URL_LIMIT: Final = 2048
SECRET_EXAMPLE: Final = "whsec_MFRGGZDFMZTWQ2LKNNWG23TPOBYXE43U"  # noqa: S105 - nobody's
WEBHOOK_EXAMPLE: Final[dict[str, Any]] = {
    "id": WEBHOOK_ID_EXAMPLE,
    "url": URL_EXAMPLE,
    "secret_prefix": SECRET_EXAMPLE[:10],
    "prev_secret_prefix": None,
    "rotation_grace_expires_at": None,
    "events": ["session.completed", "session.failed"],
    "description": "orders",
    "active": True,
    "consecutive_failures": 0,
    "last_success_at": TIME_EXAMPLE,
    "last_failure_at": None,
    "disabled_at": None,
    "delivery_counts": {"delivered": 17, "failed": 2, "dlq": 0},
    "created_at": CREATED_EXAMPLE,
}

# As for sessions: what has another form is a 404.
WebhookId = Annotated[
    str,
    Path(
        description="Id of the endpoint.",
        examples=[WEBHOOK_ID_EXAMPLE],
        json_schema_extra={"pattern": WEBHOOK_ID},
    ),
]
DeliveryId = Annotated[
    str,
    Path(
        description="Id of the delivery.",
        examples=[DELIVERY_ID_EXAMPLE],
        json_schema_extra={"pattern": DELIVERY_ID},
    ),
]


def check_events(events: list[SubscribableEvent]) -> list[SubscribableEvent]:
    """Refuse an event that is there twice; raise ValueError."""
    if len(set(events)) < len(events):
        raise ValueError("Should have each event once")
    return events


Url = Annotated[str, Field(min_length=1, max_length=URL_LIMIT)]
Events = Annotated[list[SubscribableEvent], Field(min_length=1, max_length=10), AfterValidator(check_events)]
Description = Annotated[str, Field(max_length=200)]
_URL_SCHEMA: Final[dict[str, Any]] = {"pattern": "^[hH][tT][tT][pP][sS]?://[^/?#@]"}
_EACH_ONCE: Final[dict[str, Any]] = {"uniqueItems": True}


class CreateWebhook(RequestModel):
    """Body of a create."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"url": URL_EXAMPLE, "events": ["session.completed", "session.failed"]},
                {"url": URL_EXAMPLE, "events": ["api_key.revoked"], "description": "to the security team"},
            ]
        }
    )

    url: Url = Field(
        description="Where events are POSTed to: https, a public address, no user and password. Settings of the "
        "installation may allow more.",
        json_schema_extra=_URL_SCHEMA,
    )
    events: Events = Field(description="What it is told of.", json_schema_extra=_EACH_ONCE)
    description: Description | None = Field(default=None, description="A note of your own.")


class UpdateWebhook(RequestModel):
    """Body of a change: at least one field."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"active": False},
                {"url": URL_EXAMPLE, "events": ["session.failed"]},
                {"description": None},
            ],
            "minProperties": 1,
        }
    )

    url: Url | None = Field(
        default=None, description="From the next attempt on, also of what waits.", json_schema_extra=_URL_SCHEMA
    )
    events: Events | None = Field(
        default=None, description="All that it is told of from now on.", json_schema_extra=_EACH_ONCE
    )
    description: Description | None = Field(default=None, description="A note of your own; null removes it.")
    active: bool | None = Field(
        default=None, description="False pauses it: events are kept, and sent once it is true again."
    )

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        """Refuse what changes nothing."""
        if "description" not in self.model_fields_set and (self.url, self.events, self.active) == (None,) * 3:
            raise ValueError("Should have at least one of url, events, description and active")
        return self


class DeliveryQuery(PageQuery):
    """Query of a list of deliveries."""

    status: Status | None = Field(default=None, description="Only those that are so.")


class DeliveryCounts(AnswerModel):
    """What became of deliveries so far."""

    delivered: int = Field(ge=0, description="Deliveries that arrived.")
    failed: int = Field(ge=0, description="Attempts that failed.")
    dlq: int = Field(ge=0, description="Deliveries that were given up.")


class WebhookObject(AnswerModel):
    """An endpoint as callers see it: never its secret."""

    model_config = ConfigDict(json_schema_extra={"examples": [WEBHOOK_EXAMPLE]})

    id: str = Field(pattern=WEBHOOK_ID)
    url: str
    secret_prefix: str = Field(
        description="First characters of the secret, to know it again; empty where kubectl's user told none."
    )
    prev_secret_prefix: str | None = Field(description="Of the secret before, while it signs as well.")
    rotation_grace_expires_at: Time | None = Field(description="Until when the secret before signs as well.")
    events: list[SubscribableEvent]
    description: str | None
    active: bool = Field(description="Whether it is sent anything: neither paused nor disabled.")
    consecutive_failures: int = Field(ge=0, description="Deliveries given up in a row; 50 disable it.")
    last_success_at: Time | None
    last_failure_at: Time | None
    disabled_at: Time | None = Field(description="When it was deleted, or had failed too often.")
    delivery_counts: DeliveryCounts
    created_at: Time


class NewWebhook(WebhookObject):
    """An endpoint that was just made; the only answer that has this secret."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    **WEBHOOK_EXAMPLE,
                    "last_success_at": None,
                    "delivery_counts": {"delivered": 0, "failed": 0, "dlq": 0},
                    "secret": SECRET_EXAMPLE,
                }
            ]
        }
    )

    secret: str = Field(
        pattern="^whsec_[A-Z2-7]{32}$",
        description="The key that deliveries are signed with, whole. Keep it: it is not shown again.",
    )


class WebhookList(AnswerModel):
    """All endpoints of an account, newest first, disabled ones included."""

    data: list[WebhookObject]


class NewSecret(AnswerModel):
    """A rotation; the only answer that has this secret."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "id": WEBHOOK_ID_EXAMPLE,
                    "secret": SECRET_EXAMPLE,
                    "secret_prefix": SECRET_EXAMPLE[:10],
                    "prev_secret_prefix": "whsec_GEZD",
                    "grace_expires_at": "2026-05-13T12:00:08.000Z",
                }
            ]
        }
    )

    id: str = Field(pattern=WEBHOOK_ID)
    secret: str = Field(pattern="^whsec_[A-Z2-7]{32}$", description="The new key. It is not shown again.")
    secret_prefix: str
    prev_secret_prefix: str
    grace_expires_at: Time = Field(description="Until then the secret before signs as well.")


class TestSent(AnswerModel):
    """A test event that is on its way."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"delivery_id": DELIVERY_ID_EXAMPLE, "event_id": EVENT_ID_EXAMPLE, "event_type": "test.ping"}
            ]
        }
    )

    delivery_id: str = Field(pattern=DELIVERY_ID)
    event_id: str = Field(pattern=f"^{UUID_PATTERN}$")
    event_type: Literal["test.ping"] = "test.ping"


class DeliveryObject(AnswerModel):
    """An event on its way to an endpoint, and what became of it."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "id": DELIVERY_ID_EXAMPLE,
                    "webhook_id": WEBHOOK_ID_EXAMPLE,
                    "event_id": EVENT_ID_EXAMPLE,
                    "event_type": "session.completed",
                    "status": "failed",
                    "attempts": 1,
                    "next_attempt_at": "2026-05-12T12:01:08.000Z",
                    "last_response_status": 500,
                    "last_response_excerpt": "no database",
                    "last_error": "the receiver answered 500",
                    "delivered_at": None,
                    "created_at": TIME_EXAMPLE,
                }
            ]
        }
    )

    id: str = Field(pattern=DELIVERY_ID)
    webhook_id: str = Field(pattern=WEBHOOK_ID)
    event_id: str = Field(
        pattern=f"^{UUID_PATTERN}$", description="The same in every attempt, and to every endpoint."
    )
    event_type: SubscribableEvent | Literal["test.ping"]
    status: Status = Field(description="`failed` waits for its next attempt, `dlq` has none left.")
    attempts: int = Field(ge=0)
    next_attempt_at: Time = Field(description="Of what has ended: when its last attempt was due.")
    last_response_status: int | None
    last_response_excerpt: str | None = Field(max_length=4096)
    last_error: str | None
    delivered_at: Time | None
    created_at: Time


class DeliveryPage(AnswerModel):
    """A page of deliveries, newest first."""

    data: list[DeliveryObject]
    has_more: bool
    next_cursor: str | None = Field(
        max_length=512, description="`cursor` of the next page; null on the last one.", examples=[CURSOR_EXAMPLE]
    )
