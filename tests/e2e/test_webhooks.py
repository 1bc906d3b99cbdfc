"""Events reach receivers, and bad receivers reach nobody else."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from uuid import uuid4

import pykube
import pytest
from driftstack import verify_webhook_signature

from driftstack_common import kinds
from driftstack_common.kinds import from_body
from driftstack_common.webhooks import signing
from driftstack_common.webhooks.deliveries import replay_patch
from tests.e2e.conftest import Installation, Tenant
from tests.e2e.hooks import SOON, Hook, event_of, receiving, send
from tests.e2e.objects import (
    Account,
    ApiKey,
    WebhookDelivery,
    apply_session,
    eventually,
    record_of,
    wait_ready,
)
from tests.receivers.receiver import Receiver


@pytest.fixture
def receiver(installation: Installation) -> Iterator[Receiver]:
    with receiving(installation) as receiver:
        yield receiver


def ready_hook(kube: pykube.HTTPClient, account: Tenant, receiver: Receiver, path: str, **spec: object) -> Hook:
    hook = Hook(kube, account, receiver, path, **spec)
    hook.wait_ready()
    return hook


def test_ends_of_sessions_arrive(kube: pykube.HTTPClient, account: Tenant, receiver: Receiver) -> None:
    hook = ready_hook(kube, account, receiver, "/ok")
    session = account.create(label="nightly", metadata={"ticket": "JIRA-1"})
    account.api.delete(f"/v1/sessions/{session['id']}")
    apply_session(kube, account.namespace, "failing", archetype="no_such_one")
    events = {event["type"]: event for event in map(event_of, hook.received(2))}
    completed, failed = events["session.completed"], events["session.failed"]
    record = record_of(kube, account.namespace, session["id"].removeprefix("ses_")).spec
    assert completed["created_at"] == record["endedAt"]
    assert completed["data"] == {
        "session_id": session["id"],
        "duration_ms": record["durationMilliseconds"],
        "reason": "Deleted",
        "label": "nightly",
        "metadata": {"ticket": "JIRA-1"},
    }
    assert failed["data"]["operation"] == "start"
    assert failed["data"]["error_name"] == failed["data"]["reason"] == "UnknownArchetype"
    assert "no_such_one" in failed["data"]["error_message"]
    eventually(lambda: hook.phases() == ["delivered"] * 2, SOON, "both are marked as delivered")
    eventually(lambda: hook.object.obj["status"].get("counts", {}).get("delivered") == 2, SOON, "counted")


def test_revocation_by_either_door_is_told_once(
    kube: pykube.HTTPClient, account: Tenant, receiver: Receiver
) -> None:
    hook = ready_hook(kube, account, receiver, "/ok", events=["api_key.revoked"])
    by_rest = account.api.post("/v1/api-keys", json={"name": "rest", "scopes": ["read"]}).json()
    account.api.delete(f"/v1/api-keys/{by_rest['id']}")
    account.api.delete(f"/v1/api-keys/{by_rest['id']}")
    by_kubectl = account.api.post("/v1/api-keys", json={"name": "kubectl", "scopes": ["read"]}).json()
    keys = ApiKey.objects(kube, namespace=account.namespace)
    (key,) = (each for each in keys if each.obj["spec"]["name"] == "kubectl")
    key.patch({"spec": {"revoked": True}})
    told = {event["data"]["name"]: event["data"] for event in map(event_of, hook.received(2))}
    assert told["rest"]["api_key_id"] == by_rest["id"]
    assert told["kubectl"]["api_key_id"] == by_kubectl["id"]
    eventually(lambda: _is_marked(key), SOON, "the key is marked as told")
    assert datetime.fromisoformat(told["kubectl"]["revoked_at"]) == datetime.fromisoformat(
        key.obj["spec"]["revokedAt"]
    )
    assert len(hook.deliveries) == 2


def _is_marked(key: ApiKey) -> bool:
    key.reload()
    return "driftstack.dev/revocation-told" in key.annotations


def test_receivers_that_misbehave(kube: pykube.HTTPClient, account: Tenant, receiver: Receiver) -> None:
    """Each is told of in its own delivery, and none delays the good one."""
    expected = {
        "/status/500": ("failed", 500, "answered 500"),
        "/elsewhere": ("failed", 302, "answered 302: redirects are not followed"),
        "/hang-up": ("failed", None, "the connection was closed before an answer"),
        "/slow/30": ("failed", None, "no answer within 10 s"),
        "/big": ("delivered", 200, None),
        "/cut": ("delivered", 200, None),
        "/drip": ("delivered", 200, None),
    }
    hooks = {path: ready_hook(kube, account, receiver, path) for path in expected}
    good = ready_hook(kube, account, receiver, "/ok")
    for path, hook in hooks.items():
        send(hook, 20 if path == "/slow/30" else 1)
    send(good, 10)
    good.received(10, seconds=9)
    for path, (phase, status, error) in expected.items():
        found = eventually(lambda h=hooks[path]: tried(h), SOON, f"{path} is tried").status
        assert (found["phase"], found.get("lastResponseStatus"), found.get("lastError")) == (phase, status, error)
        assert found["attempts"] == 1
        assert len(found.get("lastResponseExcerpt", "")) <= 4096
    assert receiver.sent < 5_000_000, "most of the 10 MB stayed where it was"


def tried(hook: Hook) -> WebhookDelivery | None:
    """Return a delivery that was tried, if there is one."""
    return next((each for each in hook.deliveries if each.status["phase"] not in ("pending", "in_flight")), None)


def _phase(delivery: WebhookDelivery) -> str:
    delivery.reload()
    return str(delivery.status["phase"])


def test_second_attempt_arrives_with_the_same_event(
    kube: pykube.HTTPClient, account: Tenant, receiver: Receiver
) -> None:
    hook = ready_hook(kube, account, receiver, "/flaky/1")
    (delivery,) = send(hook)
    eventually(lambda: _phase(delivery) == "failed", SOON, "the first attempt fails")
    first, second = hook.received(2, seconds=90)
    assert (first.event, first.body) == (second.event, second.body)
    eventually(lambda: _phase(delivery) == "delivered", SOON, "the second arrives")
    assert delivery.status["attempts"] == 2


def test_replay(kube: pykube.HTTPClient, account: Tenant, receiver: Receiver, installation: Installation) -> None:
    hook = ready_hook(kube, account, receiver, "/ok")
    (delivery,) = send(hook)
    eventually(lambda: _phase(delivery) == "delivered", SOON, "it arrives")
    patch = replay_patch(from_body(kinds.WebhookDelivery, delivery.obj), datetime.now(UTC))
    delivery.patch(patch, subresource="status")
    first, second = hook.received(2)
    assert first.event == second.event
    table = installation.run_kubectl("get", "whd", "-n", account.namespace).stdout
    assert "delivered" in table
    assert "test.ping" in table


def test_rotation_signs_with_both(kube: pykube.HTTPClient, account: Tenant, receiver: Receiver) -> None:
    hook = ready_hook(kube, account, receiver, "/ok")
    old, new = hook.secret, signing.mint().plaintext
    hook.put_secret(f"{hook.name}-2", new)
    previous = {"name": hook.name, "expiresAt": "2099-01-01T00:00:00Z"}
    hook.object.patch({"spec": {"secretRef": {"name": f"{hook.name}-2"}, "previousSecretRef": previous}})
    eventually(lambda: _observed(hook), SOON, "the rotation is seen")
    send(hook)
    (received,) = hook.received()
    header = received.headers["x-driftstack-signature"]
    assert header.count("v1=") == 2
    for secret in (old, new):
        assert verify_webhook_signature(body=received.body, header=header, secret=secret)


def _observed(hook: Hook) -> bool:
    found = hook.object.obj
    return bool(found["status"]["observedGeneration"] == found["metadata"]["generation"])


def test_pause_missing_secret_and_end(
    kube: pykube.HTTPClient, account: Tenant, receiver: Receiver, installation: Installation
) -> None:
    hook = ready_hook(kube, account, receiver, "/ok")
    hook.object.patch({"spec": {"paused": True}})
    eventually(lambda: hook.object.ready["reason"] == "Paused", SOON, "the pause is seen")
    (held,) = send(hook)
    eventually(lambda: "paused" in _error(held), SOON, "the delivery says why it waits")
    assert "the endpoint is paused" in installation.run_kubectl("get", "whd", "-n", account.namespace).stdout
    hook.object.patch({"spec": {"paused": False}})
    hook.received()
    hook.object.patch({"spec": {"secretRef": {"name": "missing"}}})
    eventually(lambda: hook.object.ready["reason"] == "SecretMissing", SOON, "the missing Secret is told")
    (waiting,) = send(hook)
    hook.object.patch({"spec": {"disabled": True}})
    eventually(lambda: _phase(waiting) == "dlq", SOON, "given up")
    assert waiting.status["lastError"] == "the endpoint is disabled"
    refused = installation.run_kubectl(
        "patch", "whe", hook.name, "-n", account.namespace, "--type=merge", '-p={"spec":{"disabled":false}}'
    )
    assert "a disabled endpoint stays disabled" in refused.stderr


def _error(delivery: WebhookDelivery) -> str:
    delivery.reload()
    return str(delivery.status.get("lastError"))


def test_schemas(installation: Installation, account: Tenant) -> None:
    def create(**spec: object) -> str:
        good = {"url": "https://example.com", "events": ["session.completed"], "secretRef": {"name": "x"}}
        body = {
            "apiVersion": "driftstack.dev/v1alpha1",
            "kind": "WebhookEndpoint",
            "metadata": {"name": f"h-{uuid4().hex[:8]}", "namespace": account.namespace},
            "spec": good | spec,
        }
        said = installation.run_kubectl("create", "--dry-run=server", "-f", "-", stdin=json.dumps(body))
        return said.stderr

    assert create() == ""
    assert "begins with https://" in create(url="ftp://example.com")
    assert "no user name" in create(url="https://user:password@example.com/")
    assert "no user name" in create(url="https://example.com\\@10.0.0.1/")
    assert "Unsupported value" in create(events=["test.ping"])
    same = {"name": "x", "expiresAt": "2099-01-01T00:00:00Z"}
    assert "a rotation needs a second Secret" in create(previousSecretRef=same)


def test_id_is_written_down_and_nobodys_to_take(
    kube: pykube.HTTPClient, account: Tenant, receiver: Receiver, installation: Installation
) -> None:
    hook = ready_hook(kube, account, receiver, "/ok")
    own = f"whk_{hook.object.metadata['uid']}"
    eventually(lambda: hook.object.annotations.get("driftstack.dev/id") == own, SOON, "the id is written down")
    said = installation.run_kubectl(
        "annotate", "whe", hook.name, "-n", account.namespace, f"driftstack.dev/id=whk_{uuid4()}", "--overwrite"
    )
    assert "can't be set, changed or removed" in said.stderr


def test_account_that_goes_tells_of_its_last_sessions(
    kube: pykube.HTTPClient, account: Tenant, receiver: Receiver
) -> None:
    ready_hook(kube, account, receiver, "/ok")
    apply_session(kube, account.namespace, "last")
    wait_ready(kube, account.namespace, "last")
    Account.objects(kube).get(name=account.name).delete()
    eventually(lambda: receiver.to("/ok"), SOON, "the last end is told")


def test_dispatcher_restarts_and_nothing_is_lost(
    kube: pykube.HTTPClient, account: Tenant, receiver: Receiver, installation: Installation
) -> None:
    """A rollout under way: others take over, and nothing arrives twice."""
    hook = ready_hook(kube, account, receiver, "/ok")
    installation.run_kubectl("rollout", "restart", "-n", "driftstack-system", "deployment/driftstack-dispatcher")
    made = 0
    deadline = time.monotonic() + 120
    while made < 50 or not _rolled_out(installation):
        assert time.monotonic() < deadline, "the rollout takes too long"
        send(hook)
        made += 1
    events = [each.event for each in hook.received(made, seconds=60)]
    assert len(events) == len(set(events)) == made


def _rolled_out(installation: Installation) -> bool:
    said = installation.run_kubectl(
        "rollout", "status", "-n", "driftstack-system", "deployment/driftstack-dispatcher", "--watch=false"
    )
    return "successfully rolled out" in said.stdout
