"""Token buckets: what they let through, what a change leaves, and where an account's come from."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from throttled import utils
from throttled.asyncio import MemoryStore

from driftstack_api.rate_limits.buckets import Buckets
from driftstack_api.rate_limits.limiter import RateLimiter
from driftstack_api.rate_limits.limits import BucketName, Limit, limit_of
from driftstack_common.kinds import Account, Bucket, from_body
from driftstack_common.tiers import DEFAULT_TIERS

NOON = datetime(2026, 5, 12, 12, tzinfo=UTC)
SLOW = Bucket(capacity=5, refill_per_minute=1)
FAST = Bucket(capacity=600, refill_per_minute=600)


class Clock:
    """The monotonic clock of throttled-py, set by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(utils, "now_mono_f", clock)
    return clock


@pytest.fixture
def buckets(clock: Clock) -> Buckets:
    return Buckets(MemoryStore())


async def drain(buckets: Buckets, bucket: Bucket, clock: Clock, most: int = 1000) -> int:
    """Take until it is empty, in next to no time; return how many there were."""
    for taken in range(most):
        clock.now += 1e-5
        allowed, _ = await buckets.take("a", bucket)
        if not allowed:
            return taken
    return most


async def test_a_bucket_empties_and_refills(buckets: Buckets, clock: Clock) -> None:
    assert await drain(buckets, SLOW, clock) == 5
    _, state = await buckets.take("a", SLOW)
    assert state.remaining == 0
    assert 59 < state.retry_after <= 60
    assert 299 < state.reset_after <= 300
    clock.now += state.retry_after
    assert await drain(buckets, SLOW, clock) == 1
    clock.now += 300
    assert await drain(buckets, SLOW, clock) == 5


async def test_fractions_are_not_lost(buckets: Buckets, clock: Clock) -> None:
    allowed = 0
    for _ in range(60):  # twice the rate, for half an hour
        clock.now += 30
        allowed += (await buckets.take("a", SLOW))[0]
    assert allowed in (5 + 29, 5 + 30)


async def test_names_have_buckets_of_their_own(buckets: Buckets, clock: Clock) -> None:
    assert await drain(buckets, SLOW, clock) == 5
    assert (await buckets.take("b", SLOW))[0]


@pytest.mark.parametrize("slower_first", [True, False])
async def test_a_change_fills_no_bucket(buckets: Buckets, clock: Clock, slower_first: bool) -> None:
    before, after = (SLOW, FAST) if slower_first else (FAST, SLOW)
    assert await drain(buckets, before, clock) == before.capacity
    left = await drain(buckets, after, clock)
    assert left == (after.capacity - before.capacity if slower_first else 0)
    for _ in range(3):  # to and fro
        assert await drain(buckets, before, clock) == 0
        assert await drain(buckets, after, clock) == 0


async def test_replicas_that_see_a_change_take_what_was_taken_once(clock: Clock) -> None:
    store = MemoryStore()
    replicas = Buckets(store), Buckets(store)
    for buckets in (*replicas, *replicas):
        assert (await buckets.take("a", SLOW))[0]
    for buckets, left in zip((*replicas, *replicas), (595, 594, 593, 592), strict=True):
        clock.now += 1e-5
        assert (await buckets.take("a", FAST))[1].remaining == left


async def test_a_larger_bucket_has_more_at_once(buckets: Buckets, clock: Clock) -> None:
    assert await drain(buckets, SLOW, clock) == 5
    assert await drain(buckets, Bucket(capacity=8, refill_per_minute=1), clock) == 3
    assert await drain(buckets, SLOW, clock) == 0


async def test_a_change_is_not_held_up_by_the_past(buckets: Buckets, clock: Clock) -> None:
    assert await drain(buckets, FAST, clock) == 600
    await drain(buckets, SLOW, clock)
    clock.now += 61
    assert await drain(buckets, SLOW, clock) == 1


def account(**spec: Any) -> Account:
    return from_body(Account, {"metadata": {"name": "a", "uid": "u"}, "spec": spec})


OVERRIDE = {"capacity": 9, "refillPerMinute": 90}


@pytest.mark.parametrize(
    ("spec", "name", "expected"),
    [
        ({}, "global", Limit(Bucket(capacity=60, refill_per_minute=60), overridden=False)),
        ({"tier": "enterprise"}, "sessions:create", Limit(FAST, overridden=False)),
        ({"overrides": {"concurrentSessions": 9}}, "sessions:create", Limit(SLOW, overridden=False)),
        (
            {"overrides": {"rateLimits": {"global": OVERRIDE}}},
            "global",
            Limit(Bucket(capacity=9, refill_per_minute=90), overridden=True),
        ),
        ({"overrides": {"rateLimits": {"global": OVERRIDE}}}, "sessions:create", Limit(SLOW, overridden=False)),
        (
            {"overrides": {"rateLimits": {"sessionsCreate": OVERRIDE}, "expiresAt": "2026-05-12T12:00:01Z"}},
            "sessions:create",
            Limit(Bucket(capacity=9, refill_per_minute=90), overridden=True),
        ),
        (
            {"overrides": {"rateLimits": {"sessionsCreate": OVERRIDE}, "expiresAt": "2026-05-12T12:00:00Z"}},
            "sessions:create",
            Limit(SLOW, overridden=False),
        ),
    ],
)
def test_where_a_bucket_comes_from(spec: dict[str, Any], name: str, expected: Limit) -> None:
    assert limit_of(account(**spec), BucketName(name), DEFAULT_TIERS, NOON) == expected


async def test_what_callers_are_told(clock: Clock) -> None:
    limiter = RateLimiter(DEFAULT_TIERS, None)
    for remaining in range(4, -1, -1):
        clock.now += 1e-5
        verdict = await limiter.take(account(), BucketName.SESSIONS_CREATE)
        assert (verdict.allowed, verdict.remaining) == (True, remaining)
    before = datetime.now(UTC)
    verdict = await limiter.take(account(), BucketName.SESSIONS_CREATE)
    assert not verdict.allowed
    assert dict(verdict.headers) == {
        b"x-ratelimit-limit": b"5",
        b"x-ratelimit-remaining": b"0",
        b"x-ratelimit-reset": str(verdict.reset).encode(),
        b"x-ratelimit-bucket": b"sessions:create",
    }
    assert timedelta(seconds=299) < datetime.fromtimestamp(verdict.reset, UTC) - before < timedelta(seconds=303)
    problem = verdict.problem()
    assert (problem.slug, problem.status) == ("rate-limited", 429)
    assert problem.headers == {"Retry-After": "60"}
    assert problem.extensions == {"retry_after_seconds": 60}
    assert (await limiter.take(account(), BucketName.GLOBAL)).allowed
