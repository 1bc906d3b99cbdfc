"""Which buckets an account has now: its tier's, or an override's as long as that holds."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

from driftstack_common.kinds import Account, Bucket
from driftstack_common.tiers import Tiers


class BucketName(StrEnum):
    """The buckets of an account: of calls that make sessions, and of all others."""

    GLOBAL = "global"
    SESSIONS_CREATE = "sessions:create"


class Limit(NamedTuple):
    """A bucket of an account; overridden when it differs from the tier's on purpose."""

    bucket: Bucket
    overridden: bool


def limit_of(account: Account, name: BucketName, tiers: Tiers, moment: datetime) -> Limit:
    """Return what this bucket is like for this account at this time."""
    overrides = account.spec.overrides_at(moment).rate_limits
    of_tier = tiers[account.spec.tier].rate_limits
    if name is BucketName.SESSIONS_CREATE:
        override, usual = overrides and overrides.sessions_create, of_tier.sessions_create
    else:
        override, usual = overrides and overrides.global_, of_tier.global_
    return Limit(override or usual, overridden=override is not None)
