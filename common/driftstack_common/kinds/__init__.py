"""Our custom resources as typed, immutable structures; one module per kind, field for field as in `crds/`.

`msgspec.convert(body, Session)` reads an API object; unknown fields (managedFields and the like) are ignored.
"""

from driftstack_common.kinds.account import (
    Account,
    AccountSpec,
    AccountStatus,
    Bucket,
    Member,
    MemberRole,
    Overrides,
    RateLimits,
    Tier,
)
from driftstack_common.kinds.api_key import ApiKey, ApiKeySpec, ApiKeyStatus
from driftstack_common.kinds.archetype import Archetype, ArchetypeSpec, Device
from driftstack_common.kinds.create_request import CreateRequest, CreateRequestSpec
from driftstack_common.kinds.meta import Condition, Kind, Meta, Resource, from_body, to_body
from driftstack_common.kinds.pool import Autoscale, Pool, PoolSpec, PoolStatus
from driftstack_common.kinds.record import Record, RecordSpec
from driftstack_common.kinds.session import Browser, Phase, Session, SessionSpec, SessionStatus
from driftstack_common.kinds.usage import AccountUsage, AccountUsageSpec, DayUsage, StepCounts
from driftstack_common.kinds.webhook_delivery import (
    DeliveryPhase,
    EndpointRef,
    EventType,
    WebhookDelivery,
    WebhookDeliverySpec,
    WebhookDeliveryStatus,
)
from driftstack_common.kinds.webhook_endpoint import (
    DeliveryCounts,
    ExpiringSecretRef,
    SecretRef,
    SubscribableEvent,
    WebhookEndpoint,
    WebhookEndpointSpec,
    WebhookEndpointStatus,
)

__all__ = [
    "Account",
    "AccountSpec",
    "AccountStatus",
    "AccountUsage",
    "AccountUsageSpec",
    "ApiKey",
    "ApiKeySpec",
    "ApiKeyStatus",
    "Archetype",
    "ArchetypeSpec",
    "Autoscale",
    "Browser",
    "Bucket",
    "Condition",
    "CreateRequest",
    "CreateRequestSpec",
    "DayUsage",
    "DeliveryCounts",
    "DeliveryPhase",
    "Device",
    "EndpointRef",
    "EventType",
    "ExpiringSecretRef",
    "Kind",
    "Member",
    "MemberRole",
    "Meta",
    "Overrides",
    "Phase",
    "Pool",
    "PoolSpec",
    "PoolStatus",
    "RateLimits",
    "Record",
    "RecordSpec",
    "Resource",
    "SecretRef",
    "Session",
    "SessionSpec",
    "SessionStatus",
    "StepCounts",
    "SubscribableEvent",
    "Tier",
    "WebhookDelivery",
    "WebhookDeliverySpec",
    "WebhookDeliveryStatus",
    "WebhookEndpoint",
    "WebhookEndpointSpec",
    "WebhookEndpointStatus",
    "from_body",
    "to_body",
]
