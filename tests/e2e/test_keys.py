"""API keys over REST, as kubectl sees them: made, used, rotated, revoked at every replica."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pykube

from driftstack_common import api_keys
from tests.e2e.chaos.callers import Replica, pair
from tests.e2e.conftest import Tenant
from tests.e2e.objects import ApiKey, eventually

SOON = 5.0
"""Seconds within which a key is known, or known to be revoked, everywhere, on a busy machine too."""


def make(account: Tenant, **body: Any) -> dict[str, Any]:
    answer = account.api.post("/v1/api-keys", json={"name": "ci", "scopes": ["read", "write"], **body})
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


def status(replica: Replica, account: Tenant, key: str) -> int:
    headers = {"Authorization": f"Bearer {key}"}
    return replica.call(account, "GET", "/v1/whoami", headers=headers).status_code


def stored(kube: pykube.HTTPClient, account: Tenant, key: str) -> dict[str, Any]:
    """Return the object of a key."""
    keys = ApiKey.objects(kube, namespace=account.namespace)
    return next(dict(found.obj) for found in keys if found.obj["spec"]["sha256"] == api_keys.digest(key))


def test_a_key_works_and_stops_at_every_replica(kube: pykube.HTTPClient, account: Tenant) -> None:
    with pair(kube) as replicas:
        for replica in replicas:
            eventually(lambda r=replica: status(r, account, account.key) == 200, 30, "the owner's key known")
        made = make(account)
        key = made["plaintext"]
        for replica in replicas:
            eventually(lambda r=replica: status(r, account, key) == 200, SOON, "the new key works")
        first, other = replicas
        assert first.call(account, "DELETE", f"/v1/api-keys/{made['id']}").status_code == 204
        started = time.monotonic()
        assert status(first, account, key) == 401
        eventually(lambda: status(other, account, key) == 401, SOON, "the revoked key stops")
        print(f"revoked at the other replica after {time.monotonic() - started:.3f} s")
    spec = stored(kube, account, key)["spec"]
    assert spec["revoked"]
    assert spec["revokedAt"]
    assert key not in str(spec)


def test_rotation(kube: pykube.HTTPClient, account: Tenant) -> None:
    old = make(account)
    answer = account.api.post(f"/v1/api-keys/{old['id']}/rotate")
    assert answer.status_code == 201
    new = answer.json()
    for key in (old["plaintext"], new["plaintext"]):
        headers = {"Authorization": f"Bearer {key}"}
        assert account.api.get("/v1/whoami", headers=headers).status_code == 200
    spec = stored(kube, account, old["plaintext"])["spec"]
    assert spec["replacedBy"] == stored(kube, account, new["plaintext"])["metadata"]["name"]
    left = datetime.fromisoformat(spec["expiresAt"].replace("Z", "+00:00")) - datetime.now(UTC)
    assert timedelta(hours=23, minutes=59) < left <= timedelta(hours=24, seconds=5)
    assert account.api.post(f"/v1/api-keys/{old['id']}/rotate").status_code == 201


def test_the_last_use_is_told(kube: pykube.HTTPClient, account: Tenant) -> None:
    key = make(account)["plaintext"]
    for _ in range(5):
        assert account.api.get("/v1/whoami", headers={"Authorization": f"Bearer {key}"}).status_code == 200
    eventually(lambda: stored(kube, account, key).get("status", {}).get("lastUsedAt"), 5, "the last use")
