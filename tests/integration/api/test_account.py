"""What callers can know of their account."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from driftstack_common.times import format_time, now
from tests.integration.api.test_auth import known
from tests.integration.api.test_problems import check
from tests.integration.api.world import Facade, World
from tests.unit.api.polling import until


async def test_me(api: Facade) -> None:
    await api.create()
    answer = (await api.call("GET", "/v1/account/me")).json()
    assert answer == {
        "account_id": (await api.call("GET", "/v1/whoami")).json()["account_id"],
        "tier": "api_builder",
        "concurrent_session_cap": 3,
        "concurrent_session_active": 1,
        "profile_cap": 100,
        "profile_count": 0,
        "default_archetype": "default",
        "suspended": False,
    }


@pytest.mark.parametrize(("spec", "cap"), [({}, 8), ({"overrides": {"concurrentSessions": 20}}, 20)])
async def test_a_new_account_has_the_cap_that_it_will_have(
    api: Facade, world: World, spec: dict[str, Any], cap: int
) -> None:
    world.add_account("new", **spec)
    await known(api, "new")
    world.kube.put("accounts", {**world.kube.objects["accounts", "", "new"], "status": {}})
    accounts = api.app.state.services.caches.accounts
    await until(lambda: accounts.of_namespace("acct-new").status.limit is None)
    assert (await api.call("GET", "/v1/account/me", key="new")).json()["concurrent_session_cap"] == cap


@pytest.mark.parametrize(
    ("scopes", "allowed"), [(["read"], True), (["account_owner"], True), (["read:sessions", "write"], False)]
)
async def test_me_needs_the_broad_scope(api: Facade, world: World, scopes: list[str], allowed: bool) -> None:
    world.add_key("acme", "some", scopes)
    await known(api, "some")
    answer = await api.call("GET", "/v1/account/me", key="some")
    if allowed:
        assert answer.status_code == 200
    else:
        assert "`read`" in check(answer, 403, "forbidden")["detail"]
    assert (await api.call("GET", "/v1/account/rate-limits", key="some")).status_code == 200


async def test_rate_limits(api: Facade, world: World) -> None:
    expires_at = format_time(now() + timedelta(hours=1))
    overrides = {"expiresAt": expires_at, "rateLimits": {"global": {"capacity": 7, "refillPerMinute": 90}}}
    world.add_account("free", tier="free", overrides=overrides)
    await known(api, "free")
    assert (await api.call("GET", "/v1/account/rate-limits", key="free")).json() == {
        "tier": "free",
        "buckets": [
            {
                "bucket_key": "global",
                "capacity": 7,
                "refill_per_second": 1.5,
                "source": "override",
                "override_expires_at": expires_at,
            },
            {
                "bucket_key": "sessions:create",
                "capacity": 5,
                "refill_per_second": 1 / 60,
                "source": "tier",
                "override_expires_at": None,
            },
        ],
    }


async def test_overrides_that_have_expired_are_not_told(api: Facade, world: World) -> None:
    overrides = {
        "expiresAt": "2020-01-01T00:00:00Z",
        "rateLimits": {"global": {"capacity": 7, "refillPerMinute": 90}},
    }
    world.add_account("late", tier="free", overrides=overrides)
    await known(api, "late")
    answer = (await api.call("GET", "/v1/account/rate-limits", key="late")).json()
    assert [(bucket["source"], bucket["capacity"]) for bucket in answer["buckets"]] == [("tier", 60), ("tier", 5)]
