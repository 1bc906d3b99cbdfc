"""The cap is a namespace quota: the same at both doors, exact, free again when a session is gone."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pykube
import pytest

from tests.e2e.conftest import Tenant
from tests.e2e.objects import BrowserSession, apply_session, eventually, session, wait_ready


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


def test_a_burst_gets_exactly_the_cap(account_of: Callable[..., Tenant], kube: pykube.HTTPClient) -> None:
    tenant = account_of(tier="team_manual")  # three sessions
    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(lambda _: tenant.api.post("/v1/sessions", json={}).status_code, range(12)))
    assert sorted(answers) == [201] * 3 + [429] * 9

    def all_ready() -> bool:
        live = BrowserSession.objects(kube, namespace=tenant.namespace)
        return [bs.status.get("phase") for bs in live] == ["ready"] * 3

    eventually(all_ready, 60, "three ready sessions")
