"""Counting calls, and telling callers where they are."""

from __future__ import annotations

import math
from typing import NamedTuple

from throttled.asyncio import MemoryStore

from driftstack_api.metrics import RATE_LIMITED
from driftstack_api.problems import Problem
from driftstack_api.rate_limits.buckets import MOST_NAMES, Buckets
from driftstack_api.rate_limits.limits import BucketName, limit_of
from driftstack_api.rate_limits.shared import SharedBuckets
from driftstack_common.kinds import Account
from driftstack_common.tiers import Tiers
from driftstack_common.times import now

Headers = tuple[tuple[bytes, bytes], ...]
"""As ASGI has them."""


class Verdict(NamedTuple):
    """What became of a call.

    Attributes:
        limit: calls that the full bucket holds.
        remaining: calls that it holds now.
        reset: when it will be full, seconds since 1970.
        retry_after: whole seconds until there is a token.
    """

    allowed: bool
    bucket: BucketName
    limit: int
    remaining: int
    reset: int
    retry_after: int

    @property
    def headers(self) -> Headers:
        """What every answer to the call has."""
        return (
            (b"x-ratelimit-limit", b"%d" % self.limit),
            (b"x-ratelimit-remaining", b"%d" % self.remaining),
            (b"x-ratelimit-reset", b"%d" % self.reset),
            (b"x-ratelimit-bucket", self.bucket.encode()),
        )

    def problem(self) -> Problem:
        """Return the answer to a call that came too soon."""
        RATE_LIMITED.labels(self.bucket).inc()
        return Problem(
            "rate-limited",
            f"Too many calls: the bucket `{self.bucket}` of this account is empty. Wait {self.retry_after} s.",
            headers={"Retry-After": str(self.retry_after)},
            retry_after_seconds=self.retry_after,
        )


class RateLimiter:
    """Counts calls per account; in memory, each replica for itself, while no Redis answers."""

    def __init__(self, tiers: Tiers, shared: SharedBuckets | None) -> None:
        self._tiers = tiers
        self._shared = shared
        self._own = Buckets(MemoryStore(options={"MAX_SIZE": MOST_NAMES}))

    async def take(self, account: Account, name: BucketName) -> Verdict:
        """Count a call."""
        moment = now()
        bucket = limit_of(account, name, self._tiers, moment).bucket
        key = f"{account.metadata.uid}:{name}"
        taken = await self._shared.take(key, bucket) if self._shared is not None else None
        allowed, state = taken or await self._own.take(key, bucket)
        return Verdict(
            allowed,
            name,
            bucket.capacity,
            max(0, state.remaining),
            math.ceil(moment.timestamp() + state.reset_after),
            max(1, math.ceil(state.retry_after)),
        )
