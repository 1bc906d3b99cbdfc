"""The operator dies before and after each write of a session's life, the facade at each of its own.

Nothing is lost, leaked or stuck: one browser per session, one record per end, its Event, the slot free again.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import httpx2
import pykube
import pytest

from tests.e2e.chaos.failpoints import Points
from tests.e2e.chaos.load import Load
from tests.e2e.chaos.machine import BROWSER
from tests.e2e.chaos.report import Report
from tests.e2e.chaos.victims import Victim
from tests.e2e.conftest import Installation, Tenant
from tests.e2e.objects import (
    BROWSERS,
    BrowserSession,
    SessionRecord,
    browser_pod,
    eventually,
    is_warm,
    keep_warm,
    record_of,
)

OPERATOR_WRITES = (
    "create-pods",
    "claim",
    "patch-browsersessions-status",
    "create-sessionrecords",
    "delete-pods",
    "delete-browsersessions",
    "patch-browsersessions",
)
WARM_WRITES = ("patch-pods", "claim", "patch-browsersessions-status", "create-pods")
"""Of a session that finds a warm pod; the last is the pod's replacement."""
FACADE_WRITES = (
    "create-createrequests",
    "create-browsersessions",
    "patch-browsersessions-status",
    "step",
    "delete-browsersessions",
)
PATIENCE = 20.0
"""Seconds for which a caller asks again; a facade alone has to start anew in that time."""


def points(writes: tuple[str, ...]) -> list[str]:
    return [f"{when}-{write}" for write in writes for when in ("before", "after")]


class Pods(threading.Thread):
    """Watches the browser namespace: every pod that a session ever had."""

    def __init__(self, kube: pykube.HTTPClient) -> None:
        super().__init__(daemon=True)
        self._kube = kube
        self._done = threading.Event()
        self.of: dict[str, set[str]] = {}

    def run(self) -> None:
        while not self._done.is_set():
            for pod in pykube.Pod.objects(self._kube, namespace=BROWSERS):
                owner = pod.labels.get("driftstack.dev/session")
                if owner:
                    self.of.setdefault(owner, set()).add(pod.metadata["uid"])
            self._done.wait(0.1)

    def stop(self) -> None:
        self._done.set()
        self.join(5)


@pytest.fixture
def pods(kube: pykube.HTTPClient) -> Iterator[Pods]:
    watching = Pods(kube)
    watching.start()
    yield watching
    watching.stop()


@pytest.fixture
def others(account_of: Any, long: bool) -> Iterator[Load | None]:
    """In the long form, other people's sessions go on meanwhile."""
    if not long:
        yield None
        return
    with Load(account_of(tier="api_scale")) as load:
        yield load


@pytest.mark.parametrize("point", points(OPERATOR_WRITES))
def test_operator(
    point: str,
    failpoints: Points,
    account: Tenant,
    installation: Installation,
    kube: pykube.HTTPClient,
    pods: Pods,
    others: Load | None,
    report: Report,
) -> None:
    crash = point.endswith("delete-browsersessions")
    early = point.removeprefix("before-").removeprefix("after-") in OPERATOR_WRITES[:3]
    victim = Victim(failpoints, failpoints.leader())
    if early:
        victim.arm(point)
    session = ask(account, "POST", "/v1/sessions", {"Idempotency-Key": uuid4().hex, "Prefer": "wait=30"})
    uid = session["id"].removeprefix("ses_")
    eventually(lambda: account.get(session["id"])["status"] == "ready", PATIENCE, "ready")
    if early:
        recovered = victim.since_death()
    ask(account, "POST", f"/v1/sessions/{session['id']}/navigate", body={"url": installation.page})
    if not early:
        victim.arm(point)
    if crash:
        pod = browser_pod(kube, uid)
        assert pod is not None
        os.kill(failpoints.machine.pids(pod.metadata["uid"], BROWSER)[0], signal.SIGKILL)
    else:
        ask(account, "DELETE", f"/v1/sessions/{session['id']}")
    record = record_of(kube, account.namespace, uid)
    assert record.spec["reason"] == ("BrowserCrashed" if crash else "Deleted")
    nothing_is_left(kube, account, uid)
    if not early:
        recovered = victim.since_death()
    told(installation, account, uid, record.spec["reason"])
    assert len(pods.of[uid]) == 1, "one browser per session"
    victim.replace()
    sound(others, kube)
    report.add(f"operator killed {point}", recovered)


@pytest.mark.parametrize("point", points(WARM_WRITES))
def test_operator_that_takes_a_warm_pod(
    point: str,
    failpoints: Points,
    account: Tenant,
    kube: pykube.HTTPClient,
    pods: Pods,
    report: Report,
) -> None:
    keep_warm(kube, 2)
    victim = Victim(failpoints, failpoints.leader())
    victim.arm(point)
    session = ask(account, "POST", "/v1/sessions", {"Idempotency-Key": uuid4().hex, "Prefer": "wait=30"})
    uid = session["id"].removeprefix("ses_")
    eventually(lambda: account.get(session["id"])["status"] == "ready", PATIENCE, "ready")
    recovered = victim.since_death()
    ask(account, "POST", f"/v1/sessions/{session['id']}/navigate", body={"url": "about:blank"})
    eventually(lambda: is_warm(kube, 2), 90, "two warm pods, and none beside them")
    ask(account, "DELETE", f"/v1/sessions/{session['id']}")
    assert record_of(kube, account.namespace, uid).spec["reason"] == "Deleted"
    nothing_is_left(kube, account, uid)
    assert len(pods.of[uid]) == 1, "one browser per session"
    victim.replace()
    report.add(f"operator killed {point}, warm", recovered)


@pytest.mark.parametrize("point", points(FACADE_WRITES))
def test_facade(
    point: str,
    failpoints: Points,
    account: Tenant,
    installation: Installation,
    kube: pykube.HTTPClient,
    others: Load | None,
    report: Report,
) -> None:
    victim = Victim(failpoints, failpoints.pods("facade")[0])
    key = {"Idempotency-Key": uuid4().hex, "Prefer": "wait=30"}
    creating = point.endswith(("createrequests", "create-browsersessions"))
    if creating:
        victim.arm(point)
    session = ask(account, "POST", "/v1/sessions", key)["id"]
    eventually(lambda: account.get(session)["status"] == "ready", PATIENCE, "ready")
    if not creating:
        victim.arm(point)
    # Longer than a step may take without being marked.
    page = {"url": f"{installation.page}slow?ms=500"}
    ask(account, "POST", f"/v1/sessions/{session}/navigate", body=page)
    if not creating and not point.endswith("delete-browsersessions"):
        died = victim.since_death()
        assert died < 10, "the session is usable again"
        eventually(lambda: account.get(session)["status"] == "ready", 10, "the mark of the dead facade goes")
    assert ask(account, "POST", "/v1/sessions", key)["id"] == session, "the same request is the same session"
    assert len(sessions_of(kube, account)) == 1
    ask(account, "DELETE", f"/v1/sessions/{session}")
    uid = session.removeprefix("ses_")
    assert record_of(kube, account.namespace, uid).spec["reason"] == "Deleted"
    recovered = victim.since_death()
    nothing_is_left(kube, account, uid)
    assert len(list(SessionRecord.objects(kube, namespace=account.namespace))) == 1
    victim.replace()
    sound(others, kube)
    report.add(f"facade killed {point}", recovered)


def ask(
    account: Tenant, method: str, path: str, headers: dict[str, str] | None = None, body: Any = None
) -> dict[str, Any]:
    """Ask as a careful client does: again when nobody answered, or when told to; a 500 is never right."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            answer = account.api.request(method, path, headers=headers, json=body or {})
        except httpx2.TransportError:
            answer = None
        if answer is not None and answer.status_code < 300:
            found: dict[str, Any] = answer.json() if answer.content else {}
            return found
        # A step that a dead facade began may still run: 409 until the agent notices.
        assert answer is None or answer.status_code in (409, 503), answer.text
        assert time.monotonic() < deadline, f"{method} {path}: not answered in {PATIENCE:.0f} s"
        time.sleep(0.1)


def nothing_is_left(kube: pykube.HTTPClient, account: Tenant, uid: str) -> None:
    eventually(lambda: not sessions_of(kube, account), PATIENCE, "the session's object gone")
    eventually(lambda: browser_pod(kube, uid) is None, PATIENCE, "no pod is left")
    eventually(lambda: used(kube, account) == "0", PATIENCE, "the slot is free")


def sessions_of(kube: pykube.HTTPClient, account: Tenant) -> list[BrowserSession]:
    return list(BrowserSession.objects(kube, namespace=account.namespace))


def used(kube: pykube.HTTPClient, account: Tenant) -> str:
    quota = next(iter(pykube.ResourceQuota.objects(kube, namespace=account.namespace)))
    return str(quota.obj["status"]["used"]["count/browsersessions.driftstack.dev"])


def told(installation: Installation, account: Tenant, uid: str, reason: str) -> None:
    words = ("get", "events", "-n", account.namespace, "--field-selector", f"involvedObject.name={uid}")
    eventually(lambda: reason in installation.run_kubectl(*words).stdout, PATIENCE, f"an Event {reason}")


def sound(others: Load | None, kube: pykube.HTTPClient) -> None:
    """All that went on meanwhile has ended as it should."""
    if others is None:
        return
    others.__exit__()
    assert others.wrong == []
    assert others.ended, "nobody else's session went on meanwhile"
    for session in others.ended:
        record_of(kube, others.account.namespace, session.removeprefix("ses_"))
