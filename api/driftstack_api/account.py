"""What callers can know of their account: `/v1/whoami` and `/v1/account`."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from fastapi import APIRouter, Request, Security
from pydantic import BaseModel, ConfigDict, Field

from driftstack_api.auth import READ, Caller, Requires
from driftstack_api.openapi import problems
from driftstack_api.rate_limits.limits import BucketName, limit_of
from driftstack_api.services import services
from driftstack_api.sessions.schemas import UUID_PATTERN, AnswerModel, Time
from driftstack_common.kinds import Tier
from driftstack_common.times import format_time, now

router = APIRouter(prefix="/v1", tags=["account"])

Anybody = Annotated[Caller, Security(Requires(None))]
Reader = Annotated[Caller, Security(Requires(READ))]


class Whoami(BaseModel):
    """The caller."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "account_id": "acc_1f6a3b52-8c4d-4e7f-9a0b-3d5c7e9f1a2b",
                    "api_key_id": "key_7b3e5d1c-2a4f-4c6e-8b9d-0f1a2c3e4d5b",
                    "tier": "api_builder",
                    "scopes": ["read", "write"],
                }
            ]
        }
    )

    account_id: str = Field(pattern=f"^acc_{UUID_PATTERN}$")
    api_key_id: str = Field(pattern=f"^key_{UUID_PATTERN}$")
    tier: Tier
    scopes: list[str] = Field(description="What the key may do; see the reference of keys and scopes.")


class AccountObject(AnswerModel):
    """An account, as its owner sees it."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "account_id": "acc_1f6a3b52-8c4d-4e7f-9a0b-3d5c7e9f1a2b",
                    "tier": "team_manual",
                    "concurrent_session_cap": 3,
                    "concurrent_session_active": 1,
                    "profile_cap": 50,
                    "profile_count": 0,
                    "default_archetype": "default",
                    "suspended": False,
                }
            ]
        }
    )

    account_id: str = Field(pattern=f"^acc_{UUID_PATTERN}$")
    tier: Tier
    concurrent_session_cap: int = Field(ge=0, description="Most live sessions.")
    concurrent_session_active: int = Field(ge=0, description="Live sessions now.")
    profile_cap: int | None = Field(ge=0, description="Most profiles; null where there is no limit.")
    profile_count: int = Field(ge=0)
    default_archetype: str = Field(description="Of sessions that name none.")
    suspended: bool


class BucketObject(AnswerModel):
    """A token bucket: so many calls at once, and so many more each second."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "bucket_key": "sessions:create",
                    "capacity": 20,
                    "refill_per_second": 0.1,
                    "source": "tier",
                    "override_expires_at": None,
                }
            ]
        }
    )

    bucket_key: BucketName
    capacity: int = Field(ge=1)
    refill_per_second: float = Field(gt=0)
    source: Literal["tier", "override"]
    override_expires_at: Time | None = Field(description="When the tier's bucket is back; null: not by itself.")


class RateLimitsObject(AnswerModel):
    """The buckets that an account's calls are taken from."""

    tier: Tier = Field(examples=["team_manual"])
    buckets: list[BucketObject]


ANSWERS: Final = (BucketObject,)


@router.get("/whoami", summary="Who am I", responses=problems())
async def whoami(caller: Anybody) -> Whoami:
    """Account, key, tier and scopes of the key; any valid key may ask."""
    return Whoami(
        account_id=caller.account.id,
        api_key_id=caller.key.id,
        tier=caller.account.spec.tier,
        scopes=caller.key.spec.scopes,
    )


@router.get("/account/me", summary="Read the account", responses=problems())
async def me(request: Request, caller: Reader) -> AccountObject:
    """Tier, caps, and how much of them is used; needs the broad scope `read`."""
    found, spec = services(request), caller.account.spec
    limits = found.tiers[spec.tier]
    cap = caller.account.status.limit
    if cap is None:  # it is new: the operator has not set its quota yet
        cap = spec.overrides_at(now()).concurrent_sessions
    return AccountObject(
        account_id=caller.account.id,
        tier=spec.tier,
        concurrent_session_cap=limits.concurrent_sessions if cap is None else cap,
        concurrent_session_active=found.caches.sessions.live_count(caller.namespace),
        profile_cap=limits.profiles,
        profile_count=0,
        default_archetype=spec.default_archetype,
        suspended=spec.suspended,
    )


@router.get("/account/rate-limits", summary="Read the rate limits", responses=problems())
async def rate_limits(request: Request, caller: Anybody) -> RateLimitsObject:
    """The buckets in force; any valid key may ask, as the headers of every answer tell the same."""
    moment = now()
    expires_at = caller.account.spec.overrides.expires_at
    buckets = []
    for name in BucketName:
        bucket, overridden = limit_of(caller.account, name, services(request).tiers, moment)
        buckets.append(
            BucketObject(
                bucket_key=name,
                capacity=bucket.capacity,
                refill_per_second=bucket.refill_per_minute / 60,
                source="override" if overridden else "tier",
                override_expires_at=format_time(expires_at) if overridden and expires_at is not None else None,
            )
        )
    return RateLimitsObject(tier=caller.account.spec.tier, buckets=buckets)
