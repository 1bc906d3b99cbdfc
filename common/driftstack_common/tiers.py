"""What each tier allows: one table, which operator and facade read from `DRIFTSTACK_TIERS` (JSON by tier)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final

import msgspec

from driftstack_common.kinds import Bucket, Tier
from driftstack_common.kinds.meta import Model

Seconds = Annotated[int, msgspec.Meta(ge=1)]
Count = Annotated[int, msgspec.Meta(ge=0)]


class TierRateLimits(Model, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Token buckets of an account: of calls that create sessions, and of all others together."""

    global_: Bucket = msgspec.field(name="global")
    sessions_create: Bucket


class TierLimits(Model, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a tier allows; None is no limit.

    Attributes:
        concurrent_sessions: live sessions at once.
        idle_timeout_seconds, max_duration_seconds: of each session.
        profiles: how many there may be.
    """

    concurrent_sessions: Count
    idle_timeout_seconds: Seconds | None = 30 * 60
    max_duration_seconds: Seconds | None = None
    rate_limits: TierRateLimits
    profiles: Count | None = None


Tiers = Mapping[Tier, TierLimits]


def read_tiers(table: Any) -> dict[Tier, TierLimits]:
    """Read the table as it is in JSON; what is not mentioned keeps its default.

    Raises:
        ValueError: a tier or a limit is unknown, or has a value that can't be.
    """
    if not isinstance(table, dict):
        raise ValueError("the tiers are an object, limits by tier")
    try:
        given = {Tier(name): limits for name, limits in table.items()}
        return {tier: _merged(default, given.get(tier, {})) for tier, default in DEFAULT_TIERS.items()}
    except (msgspec.ValidationError, TypeError) as error:
        raise ValueError(str(error)) from error


def _merged(default: TierLimits, given: dict[str, Any]) -> TierLimits:
    return msgspec.convert({**msgspec.to_builtins(default), **given}, TierLimits)


def _tier(
    cap: int, calls: tuple[int, int], creates: tuple[int, int], profiles: int | None, seconds: int | None = None
) -> TierLimits:
    """Make a tier of its cap, buckets (capacity, refill per minute), profiles, and longest life in seconds."""
    return TierLimits(
        concurrent_sessions=cap,
        max_duration_seconds=seconds,
        rate_limits=TierRateLimits(
            global_=Bucket(capacity=calls[0], refill_per_minute=calls[1]),
            sessions_create=Bucket(capacity=creates[0], refill_per_minute=creates[1]),
        ),
        profiles=profiles,
    )


DEFAULT_TIERS: Final[dict[Tier, TierLimits]] = {
    Tier.FREE: _tier(1, (60, 60), (5, 1), 1, seconds=20 * 60),
    Tier.SOLO_MANUAL: _tier(1, (120, 120), (10, 2), 10),
    Tier.TEAM_MANUAL: _tier(3, (360, 360), (20, 6), 50),
    Tier.AGENCY_MANUAL: _tier(8, (1800, 1800), (60, 60), 200),
    Tier.API_STARTER: _tier(2, (240, 240), (15, 3), 25),
    Tier.API_BUILDER: _tier(8, (1800, 1800), (60, 60), 100),
    Tier.API_SCALE: _tier(24, (6000, 6000), (120, 120), 500),
    Tier.ENTERPRISE: _tier(32, (60_000, 60_000), (600, 600), None),
}
