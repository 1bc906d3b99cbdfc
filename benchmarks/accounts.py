"""Accounts at scale: how soon one is Ready, how soon another cap holds, how soon a starting operator is in charge.

ACCOUNTS sets how many there are besides (default 1000, with five keys each); ROUNDS how often single things are
measured (default 20). Bounds: a new account is Ready in less than 2 s (95th percentile), an operator is in charge
less than 5 s after its process began. All that was made is removed at the end, which takes the longest.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import httpx2
from installation import Installation, open_installation, rounds, show

KINDS = "/apis/driftstack.dev/v1alpha1"
SYSTEM = "driftstack-system"
OPERATOR = f"/apis/apps/v1/namespaces/{SYSTEM}/deployments/driftstack-operator"
KEYS_EACH = 5
AT_ONCE = 8
PATIENCE = 900.0
STARTED = re.compile(r"^process_start_time_seconds (\S+)$", re.M)


class Cluster:
    """The API server, as an administrator."""

    def __init__(self, installation: Installation) -> None:
        self.api = httpx2.Client(base_url=installation.proxy, trust_env=False, timeout=60)

    def call(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        """Make a request; raises for anything but success."""
        answer = self.api.request(method, path, json=body, headers=headers)
        answer.raise_for_status()
        return answer.json()

    def merge(self, path: str, patch: Any) -> None:
        """Merge a patch into an object."""
        headers = {"Content-Type": "application/merge-patch+json"}
        self.api.patch(path, content=json.dumps(patch), headers=headers).raise_for_status()

    def create_account(self, name: str, tier: str = "api_builder") -> None:
        """Create an account."""
        body = {"apiVersion": "driftstack.dev/v1alpha1", "kind": "Account", "metadata": {"name": name}}
        self.call("POST", f"{KINDS}/accounts", {**body, "spec": {"tier": tier}})

    def create_key(self, account: str, number: int) -> None:
        """Create a key that belongs to nobody."""
        digest = hashlib.sha256(f"{account}/{number}".encode()).hexdigest()
        spec = {"name": f"bench {number}", "scopes": ["read"], "sha256": digest}
        body = {"apiVersion": "driftstack.dev/v1alpha1", "kind": "ApiKey", "metadata": {"name": f"bench-{number}"}}
        self.call("POST", f"{KINDS}/namespaces/acct-{account}/apikeys", {**body, "spec": spec})

    def is_ready(self, name: str) -> bool:
        """Whether an account is Ready."""
        return _ready(self.call("GET", f"{KINDS}/accounts/{name}"))

    def quota(self, name: str) -> str:
        """Return the cap that the API server enforces."""
        path = f"/api/v1/namespaces/acct-{name}/resourcequotas/driftstack-sessions"
        return str(self.call("GET", path)["status"]["hard"]["count/browsersessions.driftstack.dev"])

    def ours(self, plural: str) -> list[Any]:
        """Return the accounts or keys of this benchmark."""
        items: list[Any] = self.call("GET", f"{KINDS}/{plural}")["items"]
        return [item for item in items if item["metadata"]["name"].startswith("bench-")]


def _ready(account: Any) -> bool:
    conditions = account.get("status", {}).get("conditions", [])
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


def until(look: Callable[[], Any], pause: float = 0.01) -> float:
    """Return the seconds until `look` is true."""
    begun = time.monotonic()
    while not look():
        if time.monotonic() - begun > PATIENCE:
            raise TimeoutError("not in time")
        time.sleep(pause)
    return time.monotonic() - begun


def new_account(cluster: Cluster, name: str) -> float:
    """Return the seconds from the create of an account until it is Ready."""
    begun = time.monotonic()
    cluster.create_account(name)
    until(lambda: cluster.is_ready(name))
    return time.monotonic() - begun


def other_cap(cluster: Cluster, name: str, cap: int) -> float:
    """Return the seconds from the patch of an account until the API server enforces its new cap."""
    begun = time.monotonic()
    cluster.merge(f"{KINDS}/accounts/{name}", {"spec": {"overrides": {"concurrentSessions": cap}}})
    until(lambda: cluster.quota(name) == str(cap))
    return time.monotonic() - begun


def fill(cluster: Cluster, accounts: int) -> None:
    """Make many accounts with keys; print how long that takes."""
    names = [f"bench-many-{number}" for number in range(accounts)]
    begun = time.monotonic()
    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(cluster.create_account, names))
        until(lambda: sum(map(_ready, cluster.ours("accounts"))) >= accounts, 0.5)
        print(f"{accounts} accounts made and Ready in {time.monotonic() - begun:.1f} s")
        begun = time.monotonic()
        pairs = [(name, number) for name in names for number in range(KEYS_EACH)]
        list(pool.map(lambda pair: cluster.create_key(*pair), pairs))
        until(lambda: all("annotations" in key["metadata"] for key in cluster.ours("apikeys")), 0.5)
        print(f"{len(pairs)} keys made and with their ids in {time.monotonic() - begun:.1f} s")


def in_charge(installation: Installation, cluster: Cluster) -> float:
    """Return the seconds from the begin of an operator's process until it works; no other runs meanwhile."""
    pods = f"/api/v1/namespaces/{SYSTEM}/pods?labelSelector=app.kubernetes.io/component=operator"
    cluster.merge(f"{OPERATOR}/scale", {"spec": {"replicas": 0}})
    until(lambda: not cluster.call("GET", pods)["items"], 0.2)
    cluster.merge(f"{OPERATOR}/scale", {"spec": {"replicas": 1}})
    until(lambda: cluster.call("GET", OPERATOR)["status"].get("readyReplicas"), 0.2)
    (pod,) = cluster.call("GET", pods)["items"]
    path = f"/api/v1/namespaces/{SYSTEM}/pods/{pod['metadata']['name']}"
    found = STARTED.search(cluster.api.get(f"{path}:9090/proxy/metrics").raise_for_status().text)
    assert found is not None, "the operator tells no process_start_time_seconds"
    lines: list[Any] = []

    def works() -> bool:
        log = cluster.api.get(f"{path}/log").raise_for_status().text
        lines[:] = [json.loads(line) for line in log.splitlines() if '"operator works"' in line]
        return bool(lines)

    until(works, 0.2)
    return datetime.fromisoformat(lines[0]["timestamp"]).timestamp() - float(found[1])


@contextmanager
def cleaned(cluster: Cluster) -> Iterator[None]:
    """Remove what was made, and have as many operators as before."""
    replicas = cluster.call("GET", OPERATOR)["spec"]["replicas"]
    try:
        yield
    finally:
        cluster.merge(f"{OPERATOR}/scale", {"spec": {"replicas": replicas}})
        begun = time.monotonic()
        for account in cluster.ours("accounts"):
            cluster.call("DELETE", f"{KINDS}/accounts/{account['metadata']['name']}")
        until(lambda: not cluster.ours("accounts"), 0.5)
        print(f"all of them removed in {time.monotonic() - begun:.1f} s")


def main() -> None:
    """Measure with few accounts, then with many."""
    accounts = int(os.environ.get("ACCOUNTS", "1000"))
    with open_installation() as installation:
        cluster = Cluster(installation)
        if cluster.ours("accounts"):
            sys.exit("accounts of an earlier run are still there: wait, or kubectl delete them (bench-…)")
        with cleaned(cluster):
            for others in (0, accounts):
                if others:
                    fill(cluster, others)
                name = f"bench-{others}"
                show(f"Ready, beside {others}", [new_account(cluster, f"{name}-{n}") for n in range(rounds(20))])
                show(f"new cap, beside {others}", [other_cap(cluster, f"{name}-0", n) for n in range(rounds(20))])
                show(f"operator in charge, {others}", [in_charge(installation, cluster) for _ in range(3)])


if __name__ == "__main__":
    main()
