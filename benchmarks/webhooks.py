"""Webhook deliveries per second, to a receiver on this machine that answers at once.

DELIVERIES (default 2000) are stored while the endpoint is paused; then it is resumed, and the time runs from the
first request to the last, and until every delivery is marked as delivered. The least is 200 a second. Says the
machine's load, because the cluster and the receiver have to share it.
"""

from __future__ import annotations

import base64
import json
import os
import re
import secrets
import socket
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import httpx2
from installation import Installation, open_installation

from driftstack_common.kinds import WebhookEndpoint, from_body
from driftstack_common.webhooks import signing
from driftstack_common.webhooks.deliveries import build_delivery
from driftstack_common.webhooks.events import test_ping
from tests.receivers.receiver import Receiver

LEAST = 200.0
PATIENCE = 300.0
CPU = re.compile(r"^process_cpu_seconds_total (\S+)$", re.M)
KINDS = "/apis/driftstack.dev/v1alpha1"


class Cluster:
    """The API server, as an administrator, in the namespace of the account of `make demo`."""

    def __init__(self, installation: Installation) -> None:
        self.api = httpx2.Client(base_url=installation.proxy, trust_env=False, timeout=60)
        (account,) = installation.run_kubectl("get", "accounts", "-o", "name").split()[:1]
        self.namespace = f"acct-{account.partition('/')[2]}"

    def call(self, method: str, path: str, body: Any = None, **query: str) -> Any:
        """Make a request; raises for anything but success."""
        kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
        content = json.dumps(body) if body is not None else None
        answer = self.api.request(method, path, content=content, params=query, headers={"Content-Type": kind})
        answer.raise_for_status()
        return answer.json()

    def make_endpoint(self, name: str, url: str) -> WebhookEndpoint:
        """Make a paused endpoint with its Secret."""
        data = {"secret": base64.b64encode(signing.mint().plaintext.encode()).decode()}
        secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "data": data}
        self.call("POST", f"/api/v1/namespaces/{self.namespace}/secrets", secret)
        spec = {"url": url, "events": ["session.completed"], "secretRef": {"name": name}, "paused": True}
        body = {
            "apiVersion": "driftstack.dev/v1alpha1",
            "kind": "WebhookEndpoint",
            "metadata": {"name": name},
            "spec": spec,
        }
        stored = self.call("POST", f"{KINDS}/namespaces/{self.namespace}/webhookendpoints", body)
        return from_body(WebhookEndpoint, stored)

    def make_delivery(self, endpoint: WebhookEndpoint) -> None:
        """Make a delivery of a test event."""
        body = build_delivery(endpoint, test_ping(endpoint.id, datetime.now(UTC)))
        self.call("POST", f"{KINDS}/namespaces/{self.namespace}/webhookdeliveries", body)

    def resume(self, endpoint: WebhookEndpoint) -> None:
        """Have its deliveries sent."""
        path = f"{KINDS}/namespaces/{self.namespace}/webhookendpoints/{endpoint.metadata.name}"
        self.call("PATCH", path, {"spec": {"paused": False}})

    def unfinished(self, endpoint: WebhookEndpoint) -> int:
        """Return how many deliveries are not marked as delivered."""
        fields = f"status.phase!=delivered,spec.endpoint.name={endpoint.metadata.name}"
        path = f"{KINDS}/namespaces/{self.namespace}/webhookdeliveries"
        return len(self.call("GET", path, fieldSelector=fields)["items"])

    def cpu(self) -> float:
        """Return the processor time that the dispatchers have used, seconds."""
        pods = "/api/v1/namespaces/driftstack-system/pods"
        found = self.call("GET", pods, labelSelector="app.kubernetes.io/component=dispatcher")["items"]
        used = 0.0
        for pod in found:
            shown = self.api.get(f"{pods}/{pod['metadata']['name']}:9090/proxy/metrics").text
            used += sum(float(value) for value in CPU.findall(shown))
        return used

    def remove(self, endpoint: WebhookEndpoint) -> None:
        """Remove all of it; the deliveries follow the endpoint."""
        name = endpoint.metadata.name
        self.call("DELETE", f"{KINDS}/namespaces/{self.namespace}/webhookendpoints/{name}")
        self.call("DELETE", f"/api/v1/namespaces/{self.namespace}/secrets/{name}")


def own_address(installation: Installation) -> str:
    """Return this machine's address as the cluster's node sees it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect((urlsplit(str(installation.api.base_url)).hostname or "", 9))
        return str(probe.getsockname()[0])


def wait_until(done: Callable[[], bool], pause: float) -> float:
    """Return the time at which it was done, monotonic; ends the benchmark when it takes too long."""
    deadline = time.monotonic() + PATIENCE
    while not done():
        if time.monotonic() > deadline:
            sys.exit("the deliveries don't arrive: `kubectl get whe,whd -A` says why")
        time.sleep(pause)
    return time.monotonic()


def main() -> None:
    """Measure, print, and end with 1 below the least."""
    count = int(os.environ.get("DELIVERIES", "2000"))
    with open_installation() as installation, Receiver(own_address(installation)).serving() as receiver:
        cluster = Cluster(installation)
        endpoint = cluster.make_endpoint(f"bench-{secrets.token_hex(4)}", receiver.url("/ok"))
        try:
            with ThreadPoolExecutor(8) as pool:
                list(pool.map(lambda _: cluster.make_delivery(endpoint), range(count)))
            used = cluster.cpu()
            cluster.resume(endpoint)
            begun = wait_until(lambda: len(receiver.received) > 0, 0.001)
            arrived = wait_until(lambda: len(receiver.received) >= count, 0.005) - begun
            marked = wait_until(lambda: cluster.unfinished(endpoint) == 0, 0.2) - begun
            used = cluster.cpu() - used
            twice = len(receiver.received) - len({each.event for each in receiver.received})
        finally:
            cluster.remove(endpoint)
    rate = count / arrived
    print(f"{count} deliveries: {rate:.0f} a second to the receiver, {count / marked:.0f} until all were marked")
    print(f"{1000 * used / count:.1f} ms of the dispatchers' processor time each")
    print(f"{twice} arrived twice; load of the machine: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    sys.exit(0 if rate >= LEAST else f"less than {LEAST:.0f} a second")


if __name__ == "__main__":
    main()
