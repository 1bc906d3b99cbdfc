"""The facade dies between the two objects of a webhook endpoint: no Secret is left over, and all can go on."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import httpx2
import pykube
import pytest
from driftstack import verify_webhook_signature

from tests.e2e.chaos.failpoints import Points
from tests.e2e.chaos.victims import Victim
from tests.e2e.conftest import Installation, Tenant
from tests.e2e.hooks import SOON, receiving
from tests.e2e.objects import WebhookEndpoint, eventually
from tests.receivers.receiver import Receiver

CALLS = {
    "before-create-webhookendpoints": "create",
    "after-create-webhookendpoints": "create",
    "after-create-secrets": "create",
    "before-patch-webhookendpoints": "rotate",
    "after-patch-webhookendpoints": "rotate",
    "before-delete-secrets": "delete",
}
PATIENCE = 20.0


@pytest.fixture
def receiver(installation: Installation) -> Iterator[Receiver]:
    with receiving(installation) as receiver:
        yield receiver


@pytest.mark.parametrize("point", CALLS)
def test_facade(
    point: str, failpoints: Points, account: Tenant, kube: pykube.HTTPClient, receiver: Receiver
) -> None:
    call, webhook = CALLS[point], ""
    if call != "create":
        webhook = again(account, "POST", "/v1/webhooks", _body(receiver))["id"]
    victim = Victim(failpoints, failpoints.pods("facade")[0])
    victim.arm(point)
    path = {"create": "/v1/webhooks", "rotate": f"/v1/webhooks/{webhook}/rotate-secret"}.get(call)
    with contextlib.suppress(httpx2.TransportError):
        if path is None:
            account.api.delete(f"/v1/webhooks/{webhook}")
        else:
            account.api.post(path, json=_body(receiver) if call == "create" else {})
    victim.since_death()
    eventually(lambda: _answers(account), PATIENCE, "a facade answers")
    owned_by_what_is_there(kube, account)
    if call == "delete":
        again(account, "DELETE", f"/v1/webhooks/{webhook}")
        assert not secrets(kube, account), "repeating it does what was left"
    else:
        listed = again(account, "GET", "/v1/webhooks")["data"]
        assert len(listed) == (point != "before-create-webhookendpoints")
        for one in listed:
            rotated = again(account, "POST", f"/v1/webhooks/{one['id']}/rotate-secret")
            _is_signed(account, receiver, one["id"], rotated["secret"])
    for endpoint in WebhookEndpoint.objects(kube, namespace=account.namespace):
        endpoint.delete()
    eventually(lambda: not secrets(kube, account), SOON, "what belonged to the endpoint is collected")
    victim.replace()


def _body(receiver: Receiver) -> dict[str, Any]:
    return {"url": receiver.url("/ok"), "events": ["session.failed"]}


def _answers(account: Tenant) -> bool:
    with contextlib.suppress(httpx2.TransportError):
        return bool(account.api.get("/v1/whoami").status_code == 200)
    return False


def _is_signed(account: Tenant, receiver: Receiver, webhook: str, secret: str) -> None:
    """A test event comes, signed with this secret."""
    again(account, "POST", f"/v1/webhooks/{webhook}/test")
    (received,) = eventually(lambda: receiver.to("/ok"), SOON, "the test event")
    header = received.headers["x-driftstack-signature"]
    assert verify_webhook_signature(body=received.body, header=header, secret=secret)


def again(account: Tenant, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    """Call until it is done: a facade that has just started may not know for certain yet."""

    def answer() -> httpx2.Response | None:
        with contextlib.suppress(httpx2.TransportError):
            found = account.api.request(method, path, json=body)
            return found if found.status_code != 503 else None
        return None

    found = eventually(answer, PATIENCE, f"{method} {path}")
    assert found.status_code < 300, found.text
    return dict(found.json()) if found.content else {}


def secrets(kube: pykube.HTTPClient, account: Tenant) -> list[pykube.Secret]:
    """Return the Secrets that REST has made."""
    found = pykube.Secret.objects(kube, namespace=account.namespace)
    return [secret for secret in found if secret.name.startswith("whsec-")]


def owned_by_what_is_there(kube: pykube.HTTPClient, account: Tenant) -> None:
    """Every one of them belongs to an endpoint that exists."""
    endpoints = {one.metadata["uid"] for one in WebhookEndpoint.objects(kube, namespace=account.namespace)}
    for secret in secrets(kube, account):
        (owner,) = secret.metadata["ownerReferences"]
        assert owner["uid"] in endpoints, secret.name
