"""The words Driftstack writes into Kubernetes objects, in one place so that no two components differ."""

from __future__ import annotations

import re
import uuid
from secrets import token_hex
from typing import Final

GROUP: Final = "driftstack.dev"
VERSION: Final = "v1alpha1"
API_VERSION: Final = f"{GROUP}/{VERSION}"

# Labels.
LABEL_SESSION: Final = f"{GROUP}/session"
"""On a browser pod and on a record: the session's uid."""
LABEL_ACCOUNT: Final = f"{GROUP}/account"
"""On an account's namespace and everything the operator makes for it: the account's name."""
LABEL_STATE: Final = f"{GROUP}/state"
"""On a browser pod: one of STATE_WARM and STATE_CLAIMED."""
LABEL_POOL: Final = f"{GROUP}/pool"
"""On a browser pod: the BrowserPool whose template made it."""
LABEL_APP: Final = "app.kubernetes.io/name"
APP_BROWSER: Final = "driftstack-browser"

LABEL_ENDPOINT: Final = f"{GROUP}/webhook-endpoint"
"""On a delivery: the uid of its WebhookEndpoint."""

STATE_WARM: Final = "warm"
STATE_CLAIMED: Final = "claimed"

# Annotations.
ANNOTATION_CREATED_AT: Final = f"{GROUP}/created-at"
"""RFC 3339 with milliseconds; only the facade may set it (metadata.creationTimestamp knows whole seconds)."""
ANNOTATION_API_KEY_ID: Final = f"{GROUP}/api-key-id"
"""`key_<uid>` of the key that created the session; only the facade may set it."""
ANNOTATION_ID: Final = f"{GROUP}/id"
"""The public id of an object that outlives a cluster; without it the id is made from the uid."""
ANNOTATION_REVOCATION_TOLD: Final = f"{GROUP}/revocation-told"
"""On a revoked key: id of the event, once the deliveries of all who are told of it are stored."""
ANNOTATION_SESSION: Final = f"{GROUP}/session-ref"
"""On a browser pod: `<namespace>/<name>` of its session, for people."""
ANNOTATION_TEMPLATE: Final = f"{GROUP}/template"
"""On a pool's pod: hash of the template it was made from."""

FINALIZER: Final = f"{GROUP}/session"
"""On every BrowserSession, so that its record is written before it goes."""
ACCOUNT_FINALIZER: Final = f"{GROUP}/account"

SYSTEM_NAMESPACE: Final = "driftstack-system"
BROWSER_NAMESPACE: Final = "driftstack-browsers"
ACCOUNT_NAMESPACE_PREFIX: Final = "acct-"
QUOTA_NAME: Final = "driftstack-sessions"
SESSION_QUOTA: Final = f"count/browsersessions.{GROUP}"
"""The ResourceQuota key that is an account's concurrency limit."""
KEY_QUOTA: Final = f"count/apikeys.{GROUP}"
ARCHETYPE_QUOTA: Final = f"count/archetypes.{GROUP}"
WEBHOOK_QUOTA: Final = f"count/webhookendpoints.{GROUP}"
USAGE_NAME: Final = "usage"
"""The one AccountUsage of an account's namespace."""
DEFAULT_POOL: Final = "default"
DEFAULT_ARCHETYPE: Final = "default"

AGENT_PORT: Final = 8300
"""TCP port of the agent in every browser pod."""

WARM_POD_PREFIX: Final = "warm-"
"""Names of pods that a pool started; a pod keeps its name when a session takes it."""

KUBECTL_KEY_ID: Final = "key_00000000-0000-0000-0000-000000000000"
"""The api_key_id of sessions that were made without a key, by kubectl."""

_UUID: Final = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
SESSION_ID: Final = re.compile(rf"ses_({_UUID})")
ENDPOINT_ID: Final = re.compile(rf"whk_({_UUID})")
DELIVERY_ID: Final = re.compile(rf"wdl_({_UUID})")


def session_id(uid: str) -> str:
    """Return the public id of a session, `ses_<uid>`."""
    return f"ses_{uid}"


def session_uid(session: str) -> str | None:
    """Return the uid in a public session id, or None when the text is no such id."""
    match = SESSION_ID.fullmatch(session)
    return match.group(1) if match else None


def account_namespace(account: str) -> str:
    """Return the namespace that belongs to the account of this name."""
    return f"{ACCOUNT_NAMESPACE_PREFIX}{account}"


def browser_pod_name(uid: str) -> str:
    """Return the name of a session's own (cold) pod; fixed, so that a repeated create finds the first."""
    return f"browser-{uid}"


def warm_pod_name() -> str:
    """Return a name for a pool's pod that no pod had before: the agent's token is made from it."""
    return f"{WARM_POD_PREFIX}{token_hex(10)}"


def archetype_name(slug: str) -> str:
    """Return the object name of an archetype: Kubernetes names have no underscores, slugs no hyphens."""
    return slug.replace("_", "-")


def delivery_name(endpoint_uid: str, event_id: str) -> str:
    """Return the name of the one delivery of an event to an endpoint: a UUID that follows from both."""
    return str(uuid.uuid5(uuid.UUID(endpoint_uid), event_id))


def delivery_id(name: str) -> str:
    """Return the public id of a delivery, `wdl_<name>`: its name is a UUID, and known before it is stored."""
    return f"wdl_{name}"
