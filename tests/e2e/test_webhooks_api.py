"""Webhooks by REST on a real cluster: made, tried, rotated, replayed, deleted; and what kubectl shows of them."""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pykube
import pytest
import yaml
from driftstack import Driftstack, verify_webhook_signature

from tests.e2e.conftest import ROOT, Installation, Tenant
from tests.e2e.hooks import SOON, own_address, receiving
from tests.e2e.objects import WebhookDelivery, WebhookEndpoint, eventually
from tests.integration.api import test_receivers as examples
from tests.receivers.receiver import Receiver

BOTH = ["session.completed", "session.failed"]
PAGE = (ROOT / "docs" / "reference" / "webhooks.md").read_text()


@pytest.fixture
def receiver(installation: Installation) -> Iterator[Receiver]:
    with receiving(installation) as receiver:
        yield receiver


@pytest.fixture
def client(installation: Installation, account: Tenant) -> Iterator[Driftstack]:
    """The published client."""
    with Driftstack(account.key, base_url=installation.url) as made:
        yield made


def make(account: Tenant, url: str, **body: Any) -> dict[str, Any]:
    """Make an endpoint."""
    answer = account.api.post("/v1/webhooks", json={"url": url, "events": BOTH, **body})
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


def secrets(kube: pykube.HTTPClient, account: Tenant) -> set[str]:
    """Return the names of an account's Secrets."""
    return {secret.name for secret in pykube.Secret.objects(kube, namespace=account.namespace)}


def deliveries(account: Tenant, webhook: str, query: str = "") -> list[dict[str, Any]]:
    """Return a page of an endpoint's deliveries."""
    answer = account.api.get(f"/v1/webhooks/{webhook}/deliveries{query}")
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["data"]
    return found


def status(account: Tenant, webhook: str) -> list[str]:
    """Return how an endpoint's deliveries are, the newest first."""
    return [one["status"] for one in deliveries(account, webhook)]


def wait_for(account: Tenant, webhook: str, *expected: str) -> None:
    eventually(lambda: status(account, webhook) == list(expected), SOON, f"deliveries are {expected}")


def test_an_endpoint_is_tried_and_told(
    kube: pykube.HTTPClient, account: Tenant, client: Driftstack, receiver: Receiver
) -> None:
    made = client.webhooks.create({"url": receiver.url("/ok"), "events": BOTH})
    sent = client.webhooks.send_test(made.id)
    (tried,) = eventually(lambda: receiver.to("/ok"), SOON, "the test event")
    header = tried.headers["x-driftstack-signature"]
    assert verify_webhook_signature(body=tried.body, header=header, secret=made.secret)
    event = json.loads(tried.body)
    assert (event["id"], event["type"]) == (sent["event_id"], "test.ping")
    session = account.create(label="nightly", metadata={"ticket": "JIRA-1"})
    account.api.delete(f"/v1/sessions/{session['id']}")
    eventually(lambda: len(receiver.to("/ok")) == 2, SOON, "the session's end")
    ended = json.loads(receiver.to("/ok")[1].body)
    assert ended["type"] == "session.completed"
    assert ended["data"]["session_id"] == session["id"]
    assert (ended["data"]["label"], ended["data"]["metadata"]) == ("nightly", {"ticket": "JIRA-1"})
    wait_for(account, made.id, "delivered", "delivered")
    shown = client.webhooks.list_deliveries(made.id, {"status": "delivered"}).data
    assert [one.event_type for one in shown] == ["session.completed", "test.ping"]
    assert shown[1].id == sent["delivery_id"]
    assert shown[1].delivered_at is not None
    assert shown[1].last_response_status == 200
    eventually(lambda: client.webhooks.get(made.id).delivery_counts.delivered == 2, SOON, "both counted")
    assert client.webhooks.get(made.id).last_success_at is not None


@pytest.mark.parametrize(
    "url",
    [
        "ftp://192.0.2.1/",
        "http://user:password@192.0.2.1/",
        "http://169.254.169.254/latest/meta-data",
        "http://2852039166/latest/meta-data",
        "http://0xa9fea9fe/",
        "http://0251.0376.0251.0376/",
        "http://[::ffff:169.254.169.254]/",
        "http://[fe80::1]/",
        "http://224.0.0.1/",
        "http://0.0.0.0/",
        "http://example.com:0/",
        "http://a b/",
        "http://\\\\192.0.2.1/",
    ],
)
def test_urls_that_no_setting_allows(account: Tenant, url: str) -> None:
    """The installation under test allows http and private addresses; the facade's own tests have the others."""
    answer = account.api.post("/v1/webhooks", json={"url": url, "events": BOTH})
    assert answer.status_code == 400, answer.text
    assert [issue["path"] for issue in answer.json()["issues"]] == ["url"]


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({"events": []}, "events"),
        ({"events": ["session.completed"] * 11}, "events"),
        ({"events": ["session.completed"] * 2}, "events"),
        ({"events": ["session.exploded"]}, "events.0"),
        ({"events": ["test.ping"]}, "events.0"),
        ({"description": "x" * 201}, "description"),
    ],
)
def test_bad_input(account: Tenant, receiver: Receiver, body: dict[str, Any], path: str) -> None:
    answer = account.api.post("/v1/webhooks", json={"url": receiver.url("/ok"), "events": BOTH, **body})
    assert answer.status_code == 400
    assert [issue["path"] for issue in answer.json()["issues"]] == [path]


def test_what_is_at_the_bounds(account: Tenant, receiver: Receiver, kube: pykube.HTTPClient) -> None:
    url = receiver.url("/ok") + "?" + "x" * (2048 - len(receiver.url("/ok")) - 1)
    assert make(account, url, description="ä" * 200)["url"] == url
    made = [make(account, receiver.url("/ok")) for _ in range(9)]
    eleventh = account.api.post("/v1/webhooks", json={"url": receiver.url("/ok"), "events": BOTH})
    assert eleventh.status_code == 409
    assert "10 webhook endpoints" in eleventh.json()["detail"]
    assert account.api.delete(f"/v1/webhooks/{made[0]['id']}").status_code == 204
    make(account, receiver.url("/ok"))
    assert len(account.api.get("/v1/webhooks").json()["data"]) == 11
    assert len([name for name in secrets(kube, account) if name.startswith("whsec-")]) == 10


def test_rotating_twice(kube: pykube.HTTPClient, account: Tenant, client: Driftstack, receiver: Receiver) -> None:
    first = client.webhooks.create({"url": receiver.url("/ok"), "events": BOTH})
    known = [first.secret]
    for turn in (1, 2):
        rotated = client.webhooks.rotate_secret(first.id)
        known.append(rotated["secret"])
        assert rotated["prev_secret_prefix"] == known[turn - 1][:10]
        client.webhooks.send_test(first.id)
        eventually(lambda: len(receiver.to("/ok")) == turn, SOON, "the test event")  # noqa: B023
        received = receiver.to("/ok")[-1]
        header = received.headers["x-driftstack-signature"]
        assert header.count("v1=") == 2
        assert [verify_webhook_signature(body=received.body, header=header, secret=one) for one in known] == [
            *[False] * (turn - 1),
            True,
            True,
        ]
    assert len([name for name in secrets(kube, account) if name.startswith("whsec-")]) == 2


def test_replays(account: Tenant, client: Driftstack, receiver: Receiver) -> None:
    good = client.webhooks.create({"url": receiver.url("/ok"), "events": BOTH})
    sent = client.webhooks.send_test(good.id)
    wait_for(account, good.id, "delivered")
    assert client.webhooks.replay_delivery(sent["delivery_id"]).status == "pending"
    first, second = eventually(lambda: len(got := receiver.to("/ok")) == 2 and got, SOON, "it comes again")
    assert first.event == second.event == sent["event_id"]
    wait_for(account, good.id, "delivered")
    # What waits for its next attempt, a minute from now, is sent at once, to where the endpoint points by now.
    bad = client.webhooks.create({"url": receiver.url("/status/500"), "events": BOTH})
    sent = client.webhooks.send_test(bad.id)
    wait_for(account, bad.id, "failed")
    (failed,) = deliveries(account, bad.id)
    assert (failed["attempts"], failed["last_response_status"]) == (1, 500)
    client.webhooks.update(bad.id, {"url": receiver.url("/repaired")})
    replayed = client.webhooks.replay_delivery(sent["delivery_id"])
    assert (replayed.status, replayed.attempts) == ("pending", 0)
    eventually(lambda: receiver.to("/repaired"), SOON, "the replay arrives")
    wait_for(account, bad.id, "delivered")


def test_a_pause_holds_what_happens(account: Tenant, client: Driftstack, receiver: Receiver) -> None:
    made = client.webhooks.create({"url": receiver.url("/ok"), "events": BOTH})
    assert client.webhooks.update(made.id, {"active": False}).active is False
    sent = client.webhooks.send_test(made.id)
    assert client.webhooks.replay_delivery(sent["delivery_id"]).status == "pending", "it is sent anyway, later"
    assert status(account, made.id) == ["pending"]
    client.webhooks.update(made.id, {"active": True})
    wait_for(account, made.id, "delivered")


def test_deleted_while_deliveries_wait(
    kube: pykube.HTTPClient, account: Tenant, client: Driftstack, receiver: Receiver
) -> None:
    made = client.webhooks.create({"url": receiver.url("/ok"), "events": BOTH})
    client.webhooks.update(made.id, {"active": False})
    sent = client.webhooks.send_test(made.id)
    client.webhooks.delete(made.id)
    client.webhooks.delete(made.id)
    wait_for(account, made.id, "dlq")
    assert receiver.to("/ok") == []
    assert not [name for name in secrets(kube, account) if name.startswith("whsec-")]
    for path in (f"/v1/webhook-deliveries/{sent['delivery_id']}/replay", f"/v1/webhooks/{made.id}/test"):
        assert account.api.post(path, json={}).status_code == 409
    shown = client.webhooks.get(made.id)
    assert shown.disabled_at is not None
    assert shown.active is False
    # kubectl takes the object away, and with it all that there was of it.
    WebhookEndpoint.objects(kube, namespace=account.namespace).get(name=_name(kube, account, made.id)).delete()
    eventually(
        lambda: not list(WebhookDelivery.objects(kube, namespace=account.namespace)), SOON, "its deliveries go too"
    )
    eventually(lambda: account.api.get(f"/v1/webhooks/{made.id}").status_code == 404, SOON, "and REST knows")


def _name(kube: pykube.HTTPClient, account: Tenant, webhook: str) -> str:
    uid = webhook.removeprefix("whk_")
    endpoints = WebhookEndpoint.objects(kube, namespace=account.namespace)
    return next(str(one.name) for one in endpoints if one.metadata["uid"] == uid)


def test_the_facade_reads_no_secret(installation: Installation, account: Tenant) -> None:
    facade = "--as=system:serviceaccount:driftstack-system:driftstack-facade"
    allowed = {
        verb: installation.run_kubectl("auth", "can-i", verb, "secrets", "-n", account.namespace, facade).stdout
        for verb in ("create", "delete", "get", "list", "watch", "update", "patch", "deletecollection")
    }
    assert {verb for verb, said in allowed.items() if said.startswith("yes")} == {"create", "delete"}
    elsewhere = installation.run_kubectl("auth", "can-i", "create", "secrets", "-n", "driftstack-system", facade)
    assert elsewhere.stdout.startswith("no")
    for name, kind in (("mine", "Opaque"), ("whsec-" + "a" * 20, "example.com/other")):
        body = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "type": kind}
        words = ("create", "-n", account.namespace, facade, "--dry-run=server", "-f", "-")
        said = installation.run_kubectl(*words, stdin=json.dumps(body))
        assert "alone" in said.stderr, said.stderr


def test_one_truth_behind_both_doors(
    installation: Installation, kube: pykube.HTTPClient, account: Tenant, receiver: Receiver
) -> None:
    by_rest = make(account, receiver.url("/rest"), description="by REST")
    table = installation.run_kubectl("get", "webhookendpoints", "-n", account.namespace).stdout
    assert receiver.url("/rest") in table
    _as_the_reference_says(installation, account, receiver.url("/kubectl"))
    shown = eventually(
        lambda: next(
            (one for one in account.api.get("/v1/webhooks").json()["data"] if one["id"] != by_rest["id"]), 0
        ),
        SOON,
        "REST shows kubectl's",
    )
    assert (shown["url"], shown["events"], shown["active"]) == (receiver.url("/kubectl"), BOTH, True)
    assert account.api.post(f"/v1/webhooks/{shown['id']}/test").status_code == 202
    (received,) = eventually(lambda: receiver.to("/kubectl"), SOON, "the test event")
    (secret,) = (
        one for one in pykube.Secret.objects(kube, namespace=account.namespace) if one.name == "orders-webhook"
    )
    key = base64.b64decode(secret.obj["data"]["secret"]).decode()
    header = received.headers["x-driftstack-signature"]
    assert verify_webhook_signature(body=received.body, header=header, secret=key)
    rotated = account.api.post(f"/v1/webhooks/{shown['id']}/rotate-secret").json()
    assert account.api.delete(f"/v1/webhooks/{shown['id']}").status_code == 204
    assert "orders-webhook" in secrets(kube, account), "it is the user's"
    assert rotated["secret"].startswith("whsec_")


def _as_the_reference_says(installation: Installation, account: Tenant, url: str) -> None:
    """Run the reference's commands for kubectl, in this account and with this URL."""
    (commands,) = re.findall(r"^```bash\n(.*?)^```", PAGE.split("\n## With kubectl\n")[1], flags=re.M | re.S)
    example = yaml.safe_load((ROOT / "docs" / "examples" / "webhook-endpoint.yaml").read_text())
    example["spec"]["url"] = url
    example["metadata"]["namespace"] = account.namespace
    commands = commands.replace("acct-acme", account.namespace).replace(
        "-f docs/examples/webhook-endpoint.yaml", '-f - <<< "$MANIFEST"'
    )
    environment = {
        **os.environ,
        "KUBECONFIG": str(installation.kubeconfig),
        "PATH": f"{installation.kubectl.parent}:{os.environ['PATH']}",
        "MANIFEST": json.dumps(example),
    }
    command = ["bash", "-euo", "pipefail", "-c", commands]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("language", ["python", "js"])
def test_the_examples_of_the_reference(
    installation: Installation, account: Tenant, tmp_path: Path, language: str
) -> None:
    """An endpoint made by curl, and a receiver that the dispatcher reaches: all as it stands there."""
    first, *_ = re.findall(r"^```bash\n(.*?)^```", PAGE, flags=re.M | re.S)
    create, rest = first.split('curl -s -H "$auth" -X POST', 1)
    environment = {
        **os.environ,
        "DRIFTSTACK_URL": installation.url,
        "DRIFTSTACK_API_KEY": account.key,
        "no_proxy": "*",
    }

    def shell(script: str) -> str:
        command = ["bash", "-euo", "pipefail", "-c", script]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    port = examples.free_port()
    create = create.replace("https://example.com/driftstack-events", f"http://{own_address(installation)}:{port}/")
    secret, webhook = shell(f'{create}\necho "$DRIFTSTACK_WEBHOOK_SECRET $webhook"').split()
    with examples.running(language, tmp_path, port=port, secret=secret) as receiver:
        said = shell(
            f'auth="Authorization: Bearer $DRIFTSTACK_API_KEY"; webhook={webhook}\ncurl -s -H "$auth" -X POST{rest}'
        )
        assert '"test.ping"' in said
        eventually(lambda: receiver.handled, SOON, "the receiver handles it")
        wait_for(account, webhook, "delivered")
    assert receiver.handled[0].startswith("test.ping")


def test_calls_of_strangers(account_of: Any, receiver: Receiver) -> None:
    mine, theirs = account_of(), account_of()
    made = make(theirs, receiver.url("/ok"))
    sent = theirs.api.post(f"/v1/webhooks/{made['id']}/test").json()
    for answer in (
        mine.api.get(f"/v1/webhooks/{made['id']}"),
        mine.api.patch(f"/v1/webhooks/{made['id']}", json={"active": False}),
        mine.api.delete(f"/v1/webhooks/{made['id']}"),
        mine.api.post(f"/v1/webhook-deliveries/{sent['delivery_id']}/replay"),
    ):
        assert answer.status_code == 404
    assert theirs.api.get(f"/v1/webhooks/{made['id']}").json()["active"] is True
