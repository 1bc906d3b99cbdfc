"""What options can be, apart from everything that takes long to import; tests hold them against the schemas."""

from __future__ import annotations

from enum import StrEnum


class Tier(StrEnum):
    """What an account may use."""

    FREE = "free"
    SOLO_MANUAL = "solo_manual"
    TEAM_MANUAL = "team_manual"
    AGENCY_MANUAL = "agency_manual"
    API_STARTER = "api_starter"
    API_BUILDER = "api_builder"
    API_SCALE = "api_scale"
    ENTERPRISE = "enterprise"


class MemberKind(StrEnum):
    """What Kubernetes knows a member as."""

    USER = "User"
    GROUP = "Group"
    SERVICE_ACCOUNT = "ServiceAccount"


class MemberRole(StrEnum):
    """What a member may do; each may what those before it may."""

    VIEWER = "viewer"
    USER = "user"
    ADMIN = "admin"


class Scope(StrEnum):
    """What a key may do."""

    READ = "read"
    WRITE = "write"
    ACCOUNT_OWNER = "account_owner"
    READ_SESSIONS = "read:sessions"
    WRITE_SESSIONS = "write:sessions"
    READ_PROFILES = "read:profiles"
    WRITE_PROFILES = "write:profiles"
    READ_WEBHOOKS = "read:webhooks"
    READ_API_KEYS = "read:api-keys"
    ADMIN_API_KEYS = "admin:api-keys"


class Pace(StrEnum):
    """Pace of typing and of pointer movement."""

    CASUAL = "casual"
    REGULAR = "regular"
    POWER_USER = "power_user"


class WaitUntil(StrEnum):
    """When a page counts as loaded."""

    LOAD = "load"
    DOMCONTENTLOADED = "domcontentloaded"
    NETWORKIDLE = "networkidle"


class Captured(StrEnum):
    """What is captured."""

    SCREENSHOT = "screenshot"
    PDF = "pdf"
    DOM_SNAPSHOT = "dom_snapshot"


class Event(StrEnum):
    """What a webhook endpoint can be told of."""

    SESSION_COMPLETED = "session.completed"
    SESSION_FAILED = "session.failed"
    API_KEY_REVOKED = "api_key.revoked"
    PROFILE_SAVE_FAILED = "session.profile_save_failed"


class DeliveryStatus(StrEnum):
    """How far a delivery is."""

    PENDING = "pending"
    IN_FLIGHT = "in_flight"
    DELIVERED = "delivered"
    FAILED = "failed"
    DLQ = "dlq"


class Goal(StrEnum):
    """What a wait is for."""

    READY = "ready"
    ENDED = "ended"
