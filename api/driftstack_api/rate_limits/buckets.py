"""Token buckets by name, on throttled-py: in this process's memory, or in Redis.

Its GCRA is a token bucket that counts in fractions; its TOKEN_BUCKET counts whole tokens in whole seconds, and
loses up to half of what slow buckets get back (docs/decisions/0072).
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from throttled.asyncio import BaseStore, RateLimiterType, RateLimitState, Throttled, per_min

from driftstack_common.kinds import Bucket

MOST_NAMES: Final = 100_000
"""Buckets that a process keeps in mind; the one that was longest not used makes room."""


class Buckets:
    """The buckets of one store; a bucket that changes keeps what was taken from it."""

    def __init__(self, store: BaseStore) -> None:
        self._store = store
        self._last: dict[str, Bucket] = {}
        self._throttled = lru_cache(1024)(self._make)

    async def take(self, name: str, bucket: Bucket) -> tuple[bool, RateLimitState]:
        """Take a token; return whether there was one, and what the bucket is like now.

        Raises what the store raises: nothing in memory, errors of throttled-py and redis-py in Redis.
        """
        if self._last.get(name) != bucket:
            await self._change(name, bucket)
        result = await self._throttled(bucket).limit(_key(name, bucket))
        return not result.limited, result.state

    async def _change(self, name: str, bucket: Bucket) -> None:
        """Take from a bucket that is new what was taken from the one before; else each change would fill it anew.

        What is stored is the time until the bucket is full, which means something for one rate only.
        """
        before = self._last.pop(name, None)
        self._last[name] = bucket
        if len(self._last) > MOST_NAMES:
            del self._last[next(iter(self._last))]
        if before is None or before.refill_per_minute == bucket.refill_per_minute:
            return
        if (await self._throttled(bucket).peek(_key(name, bucket))).remaining < bucket.capacity:
            return  # another replica did it, or it was like this lately
        left = (await self._throttled(before).peek(_key(name, before))).remaining
        taken = min(before.capacity - left, bucket.capacity)
        await self._throttled(bucket).limit(_key(name, bucket), taken)

    def _make(self, bucket: Bucket) -> Throttled:
        quota = per_min(bucket.refill_per_minute, burst=bucket.capacity)
        return Throttled(using=RateLimiterType.GCRA.value, quota=quota, store=self._store, key_prefix="driftstack")


def _key(name: str, bucket: Bucket) -> str:
    return f"{name}:{bucket.refill_per_minute}"
