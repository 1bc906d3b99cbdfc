"""Webhook endpoints as a kubectl user makes them, and a receiver that the node can reach."""

from __future__ import annotations

import base64
import json
import secrets
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import pykube
import pytest
from driftstack import verify_webhook_signature

from driftstack_common import kinds
from driftstack_common.kinds import from_body
from driftstack_common.webhooks import signing
from driftstack_common.webhooks.deliveries import build_delivery
from driftstack_common.webhooks.events import test_ping as ping
from tests.e2e.conftest import Installation, Tenant
from tests.e2e.objects import VERSION, WebhookDelivery, WebhookEndpoint, eventually
from tests.receivers.receiver import Received, Receiver

ALL = ["session.completed", "session.failed", "api_key.revoked"]
SOON = 30.0
"""Seconds until what happens at once has happened, on a busy machine too."""


def own_address(installation: Installation) -> str:
    """Return this machine's address as the embedded node sees it."""
    if installation.backend != "embedded":
        pytest.skip("a receiver on this machine is reached from the embedded node alone")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect((urlsplit(installation.url).hostname or "", 9))
        return str(probe.getsockname()[0])


@contextmanager
def receiving(installation: Installation) -> Iterator[Receiver]:
    """Have a receiver; deliveries are sent to `Hook.url` of its paths."""
    with Receiver(own_address(installation)).serving() as receiver:
        yield receiver


class Hook:
    """An endpoint of an account.

    Args:
        path: how its receiver behaves.
    """

    def __init__(self, kube: pykube.HTTPClient, tenant: Tenant, receiver: Receiver, path: str, **spec: Any) -> None:
        self.kube, self.tenant, self.path = kube, tenant, path
        self.receiver = receiver
        self.name = f"hook-{secrets.token_hex(4)}"
        self.secret = signing.mint().plaintext
        self.put_secret(self.name, self.secret)
        good = {"url": receiver.url(path), "events": ALL, "secretRef": {"name": self.name}}
        body = {"apiVersion": VERSION, "kind": "WebhookEndpoint", "spec": good | spec}
        WebhookEndpoint(kube, body | {"metadata": {"name": self.name, "namespace": tenant.namespace}}).create()

    def put_secret(self, name: str, value: str) -> None:
        """Make the Secret that an endpoint names."""
        data = {"secret": base64.b64encode(value.encode()).decode()}
        meta = {"name": name, "namespace": self.tenant.namespace}
        pykube.Secret(self.kube, {"apiVersion": "v1", "kind": "Secret", "metadata": meta, "data": data}).create()

    @property
    def object(self) -> WebhookEndpoint:
        """The object, as it is now."""
        return WebhookEndpoint.objects(self.kube, namespace=self.tenant.namespace).get(name=self.name)

    def wait_ready(self) -> None:
        """Wait until the dispatcher says that it sends, which tells that the operator knows it, too."""
        eventually(lambda: self.object.ready.get("status") == "True", SOON, f"{self.name} ready")

    @property
    def deliveries(self) -> list[WebhookDelivery]:
        """All of its deliveries."""
        found = WebhookDelivery.objects(self.kube, namespace=self.tenant.namespace)
        return [each for each in found if each.obj["spec"]["endpoint"]["name"] == self.name]

    def phases(self) -> list[str]:
        """Return the phases of its deliveries."""
        return [delivery.status["phase"] for delivery in self.deliveries]

    def received(self, count: int = 1, seconds: float = SOON) -> list[Received]:
        """Return what arrived, once there are so many; the published client has verified each."""
        found = eventually(
            lambda: got if len(got := self.receiver.to(self.path)) >= count else None, seconds, f"{count} received"
        )
        for each in found:
            header = each.headers[signing.SIGNATURE_HEADER.lower()]
            assert verify_webhook_signature(body=each.body, header=header, secret=self.secret)
        return found


def event_of(received: Received) -> dict[str, Any]:
    """Return the envelope; the headers say the same."""
    event: dict[str, Any] = json.loads(received.body)
    assert event["id"] == received.event
    assert event["type"] == received.headers[signing.EVENT_TYPE_HEADER.lower()]
    return event


def send(hook: Hook, count: int = 1) -> list[WebhookDelivery]:
    """Make deliveries of test events, as the facade would."""
    endpoint = from_body(kinds.WebhookEndpoint, hook.object.obj)
    made = [
        WebhookDelivery(
            hook.kube,
            {
                "apiVersion": WebhookDelivery.version,
                "kind": WebhookDelivery.kind,
                **build_delivery(endpoint, ping(endpoint.id, datetime.now(UTC))),
            },
        )
        for _ in range(count)
    ]
    for delivery in made:
        delivery.create()
    return made
