"""Account: a tenant, with a namespace and a cap of its own."""

from __future__ import annotations

from enum import StrEnum
from typing import ClassVar

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


class Overrides(Model, frozen=True, kw_only=True):
    """What differs from the tier, for this account alone."""

    concurrent_sessions: int | None = None
    idle_timeout_seconds: int | None = None
    max_duration_seconds: int | None = None


class AccountSpec(Model, frozen=True, kw_only=True):
    """What the administrator set."""

    tier: Tier = Tier.FREE
    suspended: bool = False
    default_archetype: str = DEFAULT_ARCHETYPE
    overrides: Overrides = Overrides()


class AccountStatus(Model, frozen=True, kw_only=True):
    """What the operator made of it.

    Attributes:
        limit: the cap on live sessions in force, sessions.
        conditions: Ready is True once the namespace exists and its quota is in force.
    """

    namespace: str | None = None
    limit: int | None = None
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
