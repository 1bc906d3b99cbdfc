"""The cap is a namespace quota: the same at every door, exact, free when a session is gone. And rate limits."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pykube
import pytest

from tests.e2e.chaos.callers import Replica, pair
from tests.e2e.chaos.causes import pool
from tests.e2e.conftest import UNLIMITED, Installation, Tenant
from tests.e2e.objects import (
    VERSION,
    BrowserSession,
    apply_session,
    change_account,
    eventually,
    session,
    wait_ready,
)

SOON = 5.0
"""Seconds within which a change of an account holds, on a busy machine too."""


def test_cap_at_both_doors(account_of: Callable[..., Tenant], kube: pykube.HTTPClient) -> None:
    tenant = account_of(tier="api_starter")  # two sessions
    by_rest = tenant.create()["id"]
    apply_session(kube, tenant.namespace, "second")
    wait_ready(kube, tenant.namespace, "second")

    refused = tenant.api.post("/v1/sessions", json={})
    assert refused.status_code == 429
    problem = refused.json()
    assert problem["type"].endswith("/concurrency-limit")
    assert (problem["current_sessions"], problem["limit"]) == (2, 2)
    assert "Retry-After" in refused.headers
    with pytest.raises(pykube.exceptions.HTTPError, match="exceeded quota"):
        BrowserSession(kube, session(tenant.namespace, "third")).create()

    assert tenant.api.delete(f"/v1/sessions/{by_rest}").status_code == 204
    assert tenant.api.post("/v1/sessions", json={}).status_code == 201


def test_members_can_not_fill_the_api_server(
    installation: Installation, account: Tenant, kube: pykube.HTTPClient
) -> None:
    """Archetypes beyond the chart's `accounts.archetypes` are refused, and keys are counted likewise."""
    most = 200
    device = {"viewport": {"width": 800, "height": 600}}
    items = [
        {
            "apiVersion": VERSION,
            "kind": "Archetype",
            "metadata": {"name": f"a{number:03}", "namespace": account.namespace},
            "spec": {"slug": f"a{number:03}", "device": device},
        }
        for number in range(most + 1)
    ]
    whole = json.dumps({"apiVersion": "v1", "kind": "List", "items": items})
    made = installation.run_kubectl("create", "-f", "-", stdin=whole)
    assert made.stdout.count(" created") == most
    assert "exceeded quota" in made.stderr
    assert f"limited: count/archetypes.driftstack.dev={most}" in made.stderr
    found = pykube.ResourceQuota.objects(kube, namespace=account.namespace).get(name="driftstack-sessions")
    eventually(
        lambda: (found.reload(), found.obj["status"]["used"])[1].get("count/apikeys.driftstack.dev") == "1",
        30,
        "keys are counted",
    )


def test_a_burst_gets_exactly_the_cap(account_of: Callable[..., Tenant], kube: pykube.HTTPClient) -> None:
    tenant = account_of(tier="team_manual")  # three sessions
    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(lambda _: tenant.api.post("/v1/sessions", json={}).status_code, range(12)))
    assert sorted(answers) == [201] * 3 + [429] * 9

    def all_ready() -> bool:
        live = BrowserSession.objects(kube, namespace=tenant.namespace)
        return [bs.status.get("phase") for bs in live] == ["ready"] * 3

    eventually(all_ready, 60, "three ready sessions")


def test_many_creates_at_once_at_every_door_get_exactly_the_cap(
    account_of: Callable[..., Tenant], kube: pykube.HTTPClient
) -> None:
    tenant = account_of(tier="api_scale")  # 24 sessions

    def by_kubectl(number: int) -> str:
        try:
            BrowserSession(kube, session(tenant.namespace, f"kubectl-{number}")).create()
        except pykube.exceptions.HTTPError as error:
            return "refused" if "exceeded quota" in str(error) else str(error)
        return "accepted"

    # Browsers that fit nowhere: what counts is who is let in.
    with pool(kube, nodeSelector={"driftstack.dev/nowhere": "true"}), pair(kube) as replicas:
        for replica in replicas:
            eventually(
                lambda r=replica: r.call(tenant, "GET", "/v1/whoami").status_code == 200, 30, "the key known"
            )

        def create(number: int) -> str:
            if number % 3 == 2:
                return by_kubectl(number)
            answer = replicas[number % 3].call(tenant, "POST", "/v1/sessions", json={})
            return "accepted" if answer.status_code == 201 else _refused_by_the_cap(answer.status_code, answer)

        with ThreadPoolExecutor(40) as threads:
            outcomes = Counter(threads.map(create, range(200)))
        live = BrowserSession.objects(kube, namespace=tenant.namespace)
        assert outcomes == {"accepted": 24, "refused": 176}
        assert len(list(live)) == 24
        for one in live:
            one.delete()


def _knows(replica: Replica, tenant: Tenant) -> bool:
    return replica.call(tenant, "GET", "/v1/whoami").status_code == 200


def _refused_by_the_cap(status: int, answer: Any) -> str:
    problem = answer.json()
    if status != 429 or not problem["type"].endswith("/concurrency-limit"):
        return f"{status} {problem}"
    assert problem["limit"] == 24
    assert 0 < problem["current_sessions"] <= 24
    assert int(answer.headers["Retry-After"]) > 0
    return "refused"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"tier": "free"}, {"tier": "api_starter"}),
        ({"tier": "free"}, {"overrides": {"concurrentSessions": 2}}),
        ({"tier": "free"}, {"overrides": {"concurrentSessions": 2, "expiresAt": "2099-01-01T00:00:00Z"}}),
    ],
)
def test_a_larger_cap_holds_soon(
    account_of: Callable[..., Tenant], kube: pykube.HTTPClient, before: dict[str, Any], after: dict[str, Any]
) -> None:
    tenant = account_of(**before)
    tenant.create()
    assert tenant.api.post("/v1/sessions", json={}).status_code == 429
    change_account(kube, tenant.name, **after)
    started = time.monotonic()
    eventually(lambda: tenant.api.post("/v1/sessions", json={}).status_code == 201, SOON, "the larger cap")
    print(f"from the change to an accepted create: {time.monotonic() - started:.3f} s")


# --- rate limits --------------------------------------------------------------------------------------------------


def test_rate_limits(account_of: Callable[..., Tenant], kube: pykube.HTTPClient) -> None:
    few = {"capacity": 1, "refillPerMinute": 1}
    tenant = account_of(tier="api_starter", overrides={"rateLimits": {**UNLIMITED, "sessionsCreate": few}})
    first = tenant.api.post("/v1/sessions", json={})
    assert first.status_code == 201
    assert (first.headers["X-RateLimit-Limit"], first.headers["X-RateLimit-Remaining"]) == ("1", "0")
    refused = tenant.api.post("/v1/sessions", json={})
    assert (refused.status_code, refused.json()["type"].rsplit("/", 1)[1]) == (429, "rate-limited")
    assert 0 < int(refused.headers["Retry-After"]) == refused.json()["retry_after_seconds"] <= 60
    buckets = tenant.api.get("/v1/account/rate-limits").json()["buckets"]
    assert [(bucket["bucket_key"], bucket["source"]) for bucket in buckets] == [
        ("global", "override"),
        ("sessions:create", "override"),
    ]
    change_account(kube, tenant.name, overrides={"rateLimits": UNLIMITED})
    eventually(lambda: tenant.api.post("/v1/sessions", json={}).status_code == 201, SOON, "the larger bucket")
