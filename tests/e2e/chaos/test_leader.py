"""Two operators, one leader: killed, told to stop, frozen, rolled out, without an API server."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from functools import partial
from uuid import uuid4

import pykube
import pytest

from tests.e2e.chaos.failpoints import Points
from tests.e2e.chaos.leader import Observer, holder, leads
from tests.e2e.chaos.machine import Machine
from tests.e2e.chaos.report import Report
from tests.e2e.conftest import Installation, Tenant
from tests.e2e.objects import (
    BROWSERS,
    SYSTEM,
    BrowserSession,
    SessionRecord,
    apply_session,
    eventually,
    phase,
    wait_ready,
)

LEASE_SECONDS = 3.0
DEAD = 5.0
"""Most seconds until another leads, when the leader is killed."""
STOPPED = 1.0
"""The same when it is told to stop."""


@pytest.fixture(autouse=True)
def sound(failpoints: Points) -> None:
    """Every test begins with two operators that are ready, one of which leads."""
    both_ready(failpoints)
    failpoints.leader()


def both_ready(failpoints: Points) -> None:
    eventually(lambda: len(failpoints.pods("operator")) == replicas(failpoints.kube), 90, "all operators are ready")


def replicas(kube: pykube.HTTPClient) -> int:
    deployment = pykube.Deployment.objects(kube, namespace=SYSTEM).get(name="driftstack-operator")
    return int(deployment.obj["spec"]["replicas"])


def process_of(pod: pykube.Pod) -> int:
    return Machine.pids(pod.metadata["uid"])[0]


@pytest.mark.parametrize(
    ("how", "number", "most"), [("killed", signal.SIGKILL, DEAD), ("told to stop", signal.SIGTERM, STOPPED)]
)
def test_another_takes_over(
    how: str,
    number: signal.Signals,
    most: float,
    failpoints: Points,
    account: Tenant,
    kube: pykube.HTTPClient,
    report: Report,
    long: bool,
) -> None:
    for _ in range(5 if long else 1):
        both_ready(failpoints)
        leader = failpoints.leader()
        with Observer(kube) as observer:
            eventually(lambda: observer.holders, 10, "the leader is seen")
            process = process_of(leader)
            begun = time.monotonic()
            os.kill(process, number)
            name = f"after-{uuid4().hex[:8]}"
            apply_session(kube, account.namespace, name)
            taken = eventually(partial(observer.since, begun), 30, "another leads")
            wait_ready(kube, account.namespace, name)
        report.add(f"leader {how}: another leads", taken)
        report.add(f"leader {how}: a session created meanwhile is ready", time.monotonic() - begun)
        assert taken < most
        BrowserSession.objects(kube, namespace=account.namespace).get(name=name).delete()


@pytest.mark.parametrize("where", ["anywhere", "before-create-pods", "before-create-sessionrecords"])
def test_a_frozen_leader_writes_nothing_when_it_wakes(
    where: str, failpoints: Points, account: Tenant, kube: pykube.HTTPClient, report: Report
) -> None:
    leader = failpoints.leader()
    identity, lived = holder(kube), restarts(leader)
    process = process_of(leader)
    apply_session(kube, account.namespace, "before")
    wait_ready(kube, account.namespace, "before")
    written = accepted(failpoints, leader)
    if where == "anywhere":
        os.kill(process, signal.SIGSTOP)
    else:
        failpoints.arm(leader, where, "freeze")
    try:
        frozen = time.monotonic()
        during = apply_session(kube, account.namespace, "during").uid
        BrowserSession.objects(kube, namespace=account.namespace).get(name="before").delete()
        taken = eventually(lambda: holder(kube) not in ("", identity), 10, "another leads")
        report.add("leader frozen: another leads", time.monotonic() - frozen)
        wait_ready(kube, account.namespace, "during")
        eventually(lambda: phase(kube, account.namespace, "before") is None, 30, "the ended session is gone")
        assert taken
    finally:
        os.kill(process, signal.SIGCONT)
    now = eventually(lambda: quiet(failpoints, leader), 30, "the old leader answers")
    assert not leads(leader, holder(kube))
    # At a point, others of its workers may have written before it froze.
    for write in ("create-pods", "create-sessionrecords") if where == "anywhere" else (where[len("before-") :],):
        assert now.get(f"after-{write}", 0) == written.get(f"after-{write}", 0), write
    assert pods_of(kube, during) == 1
    records = list(SessionRecord.objects(kube, namespace=account.namespace))
    assert len(records) == 1
    assert restarts(leader) == lived
    report.add("old leader woken: its writes", lost=0)


def accepted(failpoints: Points, pod: pykube.Pod) -> dict[str, int]:
    return {name: count for name, count in failpoints.reached(pod).items() if name.startswith("after-")}


def quiet(failpoints: Points, pod: pykube.Pod) -> dict[str, int]:
    """Return what the pod's process has written, once it writes nothing for as long as a lease."""
    before = accepted(failpoints, pod)
    until = time.monotonic() + LEASE_SECONDS
    while time.monotonic() < until:
        if accepted(failpoints, pod) != before:
            return {}
        time.sleep(0.2)
    return before


def pods_of(kube: pykube.HTTPClient, uid: str) -> int:
    return len(list(pykube.Pod.objects(kube, namespace=BROWSERS).filter(selector={"driftstack.dev/session": uid})))


def restarts(pod: pykube.Pod) -> int:
    pod.reload()
    return sum(status["restartCount"] for status in pod.obj["status"]["containerStatuses"])


def test_a_rollout_hands_over_in_less_than_a_second(
    installation: Installation, failpoints: Points, account: Tenant, kube: pykube.HTTPClient, report: Report
) -> None:
    with Observer(kube) as observer:
        eventually(lambda: observer.holders, 10, "the leader is seen")
        installation.run_kubectl("rollout", "restart", "-n", SYSTEM, "deployment/driftstack-operator")
        rolling(account, lambda: rolled_out(kube))
    assert observer.gaps, "the leader has changed"
    for gap in observer.gaps:
        report.add("operators rolled out: another leads", gap)
    assert max(observer.gaps) < STOPPED


def rolling(account: Tenant, done: Callable[[], bool]) -> None:
    """Create sessions all the while: each becomes ready."""
    deadline = time.monotonic() + 120
    while not done():
        assert time.monotonic() < deadline, "the rollout takes too long"
        session = account.create()["id"]
        assert account.api.delete(f"/v1/sessions/{session}").status_code == 204


def rolled_out(kube: pykube.HTTPClient) -> bool:
    deployment = pykube.Deployment.objects(kube, namespace=SYSTEM).get(name="driftstack-operator").obj
    status, wanted = deployment["status"], deployment["spec"]["replicas"]
    counts = [status.get(name, 0) for name in ("replicas", "updatedReplicas", "availableReplicas")]
    current = status.get("observedGeneration", 0) >= deployment["metadata"]["generation"]
    return current and counts == [wanted] * 3


def test_without_an_api_server_nobody_leads_and_afterwards_one_does(
    machine: Machine, failpoints: Points, account: Tenant, kube: pykube.HTTPClient, report: Report, long: bool
) -> None:
    pods = failpoints.pods("operator")
    before = {pod.name: restarts(pod) for pod in pods}
    with machine.frozen("kube-apiserver"):
        time.sleep(180 if long else 8)  # an outage has a length; nothing can be asked meanwhile
    back = time.monotonic()
    eventually(lambda: answers(kube), 60, "the API server answers")
    apply_session(kube, account.namespace, "afterwards")
    wait_ready(kube, account.namespace, "afterwards", 60)
    report.add("API server frozen: a session is ready after it", time.monotonic() - back)
    assert {pod.name: restarts(pod) for pod in pods} == before, "operators have lived on"


def answers(kube: pykube.HTTPClient) -> bool:
    try:
        return bool(holder(kube))
    except (OSError, pykube.exceptions.PyKubeError):
        return False
