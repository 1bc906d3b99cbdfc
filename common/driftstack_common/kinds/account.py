"""Account: a tenant, with a namespace and a cap of its own."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated, ClassVar, Literal

import msgspec

from driftstack_common.kinds.meta import Condition, Kind, Model, Resource
from driftstack_common.names import ANNOTATION_ID, DEFAULT_ARCHETYPE, account_namespace


class Tier(StrEnum):
    """The tiers an account can have; what each allows is configuration of the operator."""

    FREE = "free"
    SOLO_MANUAL = "solo_manual"
    TEAM_MANUAL = "team_manual"
    AGENCY_MANUAL = "agency_manual"
    API_STARTER = "api_starter"
    API_BUILDER = "api_builder"
    API_SCALE = "api_scale"
    ENTERPRISE = "enterprise"


class MemberRole(StrEnum):
    """What a member may do; each may what those before it may."""

    VIEWER = "viewer"
    USER = "user"
    ADMIN = "admin"


class Bucket(Model, frozen=True, kw_only=True):
    """A token bucket.

    Attributes:
        capacity: calls that may be made at once.
        refill_per_minute: calls that come back in a minute, evenly.
    """

    capacity: Annotated[int, msgspec.Meta(ge=1)]
    refill_per_minute: Annotated[int, msgspec.Meta(ge=1)]


class RateLimits(Model, frozen=True, kw_only=True):
    """Buckets that differ from the tier's; None is the tier's."""

    global_: Bucket | None = msgspec.field(default=None, name="global")
    sessions_create: Bucket | None = None


class Member(Model, frozen=True, kw_only=True):
    """A subject that may use the account's namespace with kubectl; `namespace` is a ServiceAccount's."""

    kind: Literal["User", "Group", "ServiceAccount"]
    name: str
    namespace: str | None = None
    role: MemberRole


class Overrides(Model, frozen=True, kw_only=True):
    """What differs from the tier, for this account alone, until `expires_at` (None: for good)."""

    expires_at: datetime | None = None
    concurrent_sessions: int | None = None
    idle_timeout_seconds: int | None = None
    max_duration_seconds: int | None = None
    rate_limits: RateLimits | None = None


class AccountSpec(Model, frozen=True, kw_only=True):
    """What the administrator set."""

    tier: Tier = Tier.FREE
    suspended: bool = False
    default_archetype: str = DEFAULT_ARCHETYPE
    members: list[Member] = []
    overrides: Overrides = Overrides()

    def overrides_at(self, moment: datetime) -> Overrides:
        """Return the overrides that hold at this time: none once they have expired."""
        expires_at = self.overrides.expires_at
        return self.overrides if expires_at is None or moment < expires_at else Overrides()


class AccountStatus(Model, frozen=True, kw_only=True):
    """What the operator made of it.

    Attributes:
        limit: the cap on live sessions in force, sessions.
        live: sessions that there are, a second ago at most.
        conditions: Ready is True once the namespace exists and its quota is in force.
    """

    namespace: str | None = None
    limit: int | None = None
    live: int | None = None
    observed_generation: int = 0
    conditions: list[Condition] = []


class Account(Resource, frozen=True, kw_only=True):
    """An Account object (cluster-scoped)."""

    KIND: ClassVar[Kind] = Kind("Account", "accounts", namespaced=False)
    spec: AccountSpec = AccountSpec()
    status: AccountStatus = AccountStatus()

    @property
    def id(self) -> str:
        """The public id, `acc_<uuid>`."""
        return self.metadata.annotations.get(ANNOTATION_ID) or f"acc_{self.metadata.uid}"

    @property
    def namespace(self) -> str:
        """The namespace that belongs to it."""
        return account_namespace(self.metadata.name)

    @property
    def ready(self) -> bool:
        """Whether sessions can be created in its namespace."""
        return any(c.type == "Ready" and c.status == "True" for c in self.status.conditions)
