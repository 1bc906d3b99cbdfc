"""What an account's tier and overrides allow its sessions. Pure."""

from __future__ import annotations

from datetime import datetime

from driftstack_common.kinds import Account, SessionSpec
from driftstack_common.protocol import Limits
from driftstack_common.tiers import Tiers


def cap_of(account: Account, tiers: Tiers, moment: datetime) -> int:
    """Return how many sessions the account may have at once; none while it is suspended or going."""
    if account.spec.suspended or account.metadata.deletion_timestamp is not None:
        return 0
    own = account.spec.overrides_at(moment).concurrent_sessions
    return own if own is not None else tiers[account.spec.tier].concurrent_sessions


def limits_of(session: SessionSpec, account: Account, tiers: Tiers, moment: datetime) -> Limits:
    """Return the session's clocks: what it asks for, at most what its account may have."""
    tier, own = tiers[account.spec.tier], account.spec.overrides_at(moment)
    return Limits(
        idle_seconds=_least(session.idle_timeout_seconds, own.idle_timeout_seconds or tier.idle_timeout_seconds),
        duration_seconds=_least(
            session.max_duration_seconds, own.max_duration_seconds or tier.max_duration_seconds
        ),
    )


def _least(asked: int | None, allowed: int | None) -> int | None:
    given = [value for value in (asked, allowed) if value is not None]
    return min(given) if given else None
