"""WebhookEndpoint: where an account wants to be told of events."""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar, Final, Literal

from driftstack_common.kinds.meta import Condition, Kind, Model, Resource
from driftstack_common.names import ANNOTATION_ID

SubscribableEvent = Literal["session.completed", "session.failed", "api_key.revoked", "session.profile_save_failed"]

MOST_FAILURES: Final = 50
"""Deliveries given up in a row that disable an endpoint."""


class SecretRef(Model, frozen=True, kw_only=True):
    """An entry of a Secret of the same namespace; `prefix` is how the key in it begins, for people."""

    name: str
    key: str = "secret"
    prefix: str = ""


class ExpiringSecretRef(Model, frozen=True, kw_only=True):
    """As SecretRef, until `expires_at`."""

    name: str
    key: str = "secret"
    prefix: str = ""
    expires_at: datetime


class WebhookEndpointSpec(Model, frozen=True, kw_only=True):
    """What the customer set.

    Attributes:
        paused: deliveries are made, but not sent.
        disabled, disabled_at: told of nothing any more, for good.
        secret_ref: the key that signs.
        previous_secret_ref: the one of before a rotation, which signs beside it until it expires.
    """

    url: str
    events: list[SubscribableEvent]
    description: str | None = None
    paused: bool = False
    disabled: bool = False
    disabled_at: datetime | None = None
    secret_ref: SecretRef
    previous_secret_ref: ExpiringSecretRef | None = None


class DeliveryCounts(Model, frozen=True, kw_only=True):
    """Deliveries that arrived, attempts that failed, deliveries given up."""

    delivered: int = 0
    failed: int = 0
    dlq: int = 0


class WebhookEndpointStatus(Model, frozen=True, kw_only=True):
    """What the dispatcher knows.

    Attributes:
        consecutive_failures: deliveries given up in a row.
        disabled_generation: of the spec that failures have disabled; another one is tried anew.
    """

    consecutive_failures: int = 0
    last_success_at: datetime | None = None
    last_failure_at: datetime | None = None
    disabled_at: datetime | None = None
    disabled_generation: int | None = None
    counts: DeliveryCounts = DeliveryCounts()
    observed_generation: int = 0
    conditions: list[Condition] = []


class WebhookEndpoint(Resource, frozen=True, kw_only=True):
    """A WebhookEndpoint object, in the namespace of its account."""

    KIND: ClassVar[Kind] = Kind("WebhookEndpoint", "webhookendpoints")
    spec: WebhookEndpointSpec
    status: WebhookEndpointStatus = WebhookEndpointStatus()

    @property
    def id(self) -> str:
        """The public id, `whk_<uuid>`."""
        return self.metadata.annotations.get(ANNOTATION_ID) or f"whk_{self.metadata.uid}"

    @property
    def failed(self) -> bool:
        """Whether failures have disabled it as it is now."""
        return self.status.disabled_generation == self.metadata.generation

    @property
    def live(self) -> bool:
        """Whether events become deliveries to it; a paused one is live."""
        return not (self.spec.disabled or self.failed or self.metadata.deletion_timestamp is not None)

    @property
    def disabled_at(self) -> datetime | None:
        """When it was disabled, as far as that was written down; None while it is live."""
        return None if self.live else self.spec.disabled_at or self.status.disabled_at
