"""What accounts have used, on a running cluster: while sessions live, after their end, and after their records."""

from __future__ import annotations

import json
import os
import signal
import time
from typing import Any
from uuid import uuid4

import pykube
import pytest
from driftstack import Driftstack

from driftstack_common.times import format_time, now
from tests.e2e.chaos.causes import pod_of
from tests.e2e.chaos.machine import BROWSER, Machine
from tests.e2e.conftest import Installation, Tenant
from tests.e2e.objects import SYSTEM, VERSION, SessionRecord, eventually, record_of

OPERATOR = f"system:serviceaccount:{SYSTEM}:driftstack-operator"
PER_ACCOUNT = 500
"""Records that the chart keeps of an account."""
STEPS = {"navigate": 2, "interact": 1, "wait": 1, "state_capture": 3, "screenshot_capture": 2}

pytestmark = pytest.mark.timeout(300)


def drive(account: Tenant, session: str, page: str) -> None:
    """Take the STEPS, and one that fails."""
    steps: list[tuple[str, str, dict[str, Any] | None]] = [
        ("POST", "navigate", {"url": page}),
        ("POST", "navigate", {"url": "about:blank"}),
        ("POST", "interact", {"action": {"kind": "scroll", "delta_y": 10}}),
        ("POST", "wait", {"condition": {"kind": "time", "ms": 1}}),
        ("GET", "state", None),
        ("POST", "extract", {"extractions": [{"name": "n", "selector": "body", "type": "text"}]}),
        ("POST", "capture", {"kind": "dom_snapshot"}),
        ("POST", "capture", {"kind": "screenshot"}),
        ("POST", "capture", {"kind": "pdf"}),
    ]
    for method, step, body in steps:
        answer = account.api.request(method, f"/v1/sessions/{session}/{step}", json=body)
        assert answer.status_code == 200, answer.text
    refused = account.api.post(f"/v1/sessions/{session}/navigate", json={"url": "http://127.0.0.1/"})
    assert refused.status_code == 400


def used(account: Tenant) -> dict[str, int]:
    """Return the steps of this month."""
    answer = account.api.get("/v1/usage")
    assert answer.status_code == 200, answer.text
    totals: dict[str, int] = answer.json()["totals"]
    assert totals.pop("session_minute") >= 1
    return totals


def times(number: int) -> dict[str, int]:
    return {kind: count * number for kind, count in STEPS.items()}


def test_usage_is_right_from_the_first_step_to_after_the_record(
    installation: Installation, kube: pykube.HTTPClient, machine: Machine, account: Tenant
) -> None:
    deleted, killed = (account.create()["id"] for _ in range(2))
    for session in (deleted, killed):
        drive(account, session, installation.page)
    assert used(account) == times(2), "both live"

    assert account.api.delete(f"/v1/sessions/{deleted}").status_code == 204
    pod = pod_of(kube, killed.removeprefix("ses_"))
    os.kill(machine.pids(pod.metadata["uid"], BROWSER)[0], signal.SIGKILL)
    records = [record_of(kube, account.namespace, session.removeprefix("ses_")) for session in (deleted, killed)]
    assert [record.spec["reason"] for record in records] == ["Deleted", "BrowserCrashed"]
    eventually(lambda: used(account) == times(2), 10, "the usage of both records")

    time.sleep(1.1)  # creationTimestamps have whole seconds: retention can't tell older ones from those of the same
    outnumber(installation, account.namespace)
    installation.run_kubectl("delete", "pods", "-n", SYSTEM, "-l", "app.kubernetes.io/component=operator")
    listed = SessionRecord.objects(kube, namespace=account.namespace)
    for record in records:  # who begins to lead, begins with what retention has to remove
        eventually(lambda name=record.name: listed.get_or_none(name=name) is None, 60, "its record is pruned")
    eventually(lambda: used(account) == times(2), 10, "the usage of what was pruned")
    shown = installation.run_kubectl("get", "accountusage", "usage", "-n", account.namespace, "-o", "json")
    days = json.loads(shown.stdout)["spec"]["days"].values()
    assert sum(day["navigate"] for day in days) == times(2)["navigate"]

    with Driftstack(account.key, base_url=installation.url) as client:
        assert client.usage.current_period().totals.screenshot_capture == times(2)["screenshot_capture"]
        assert len(client.usage.series(days=7)["buckets"]) == 7


def outnumber(installation: Installation, namespace: str) -> None:
    """Add as many newer records as are kept, of sessions that used nothing."""
    moment = format_time(now())
    items = []
    for _ in range(PER_ACCOUNT):
        uid = str(uuid4())
        spec = {
            "sessionName": "newer",
            "sessionUid": uid,
            "phase": "destroyed",
            "reason": "Deleted",
            "archetype": "default",
            "apiKeyId": f"key_{uid}",
            "createdAt": moment,
            "endedAt": moment,
            "durationMilliseconds": 0,
        }
        meta = {"name": uid, "namespace": namespace}
        items.append({"apiVersion": VERSION, "kind": "SessionRecord", "metadata": meta, "spec": spec})
    whole = json.dumps({"apiVersion": "v1", "kind": "List", "items": items})
    made = installation.run_kubectl("create", "-f", "-", f"--as={OPERATOR}", stdin=whole)
    assert made.returncode == 0, made.stderr
