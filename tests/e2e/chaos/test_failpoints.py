"""A process that dies at a failpoint is started again, and what it had begun is finished."""

from __future__ import annotations

import time

import httpx2
import pykube

from tests.e2e.chaos.failpoints import Points
from tests.e2e.chaos.report import Report
from tests.e2e.conftest import Tenant
from tests.e2e.objects import eventually


def test_facade_killed_after_a_step(account: Tenant, failpoints: Points, report: Report) -> None:
    session = account.create()["id"]
    pods = failpoints.pods("facade")
    before = sum(restarts(pod) for pod in pods)
    for pod in pods:
        failpoints.arm(pod, "after-step")

    begun = time.monotonic()
    answered = navigate(account, session)
    eventually(lambda: navigate(account, session), 30, f"{session} usable again")

    report.add("facade killed after a step", time.monotonic() - begun)
    assert not answered
    assert sum(restarts(pod) for pod in pods) == before + len(pods)


def navigate(account: Tenant, session: str) -> bool:
    try:
        return account.api.post(f"/v1/sessions/{session}/navigate", json={"url": "about:blank"}).status_code == 200
    except httpx2.HTTPError:
        return False


def restarts(pod: pykube.Pod) -> int:
    pod.reload()
    return sum(status["restartCount"] for status in pod.obj["status"]["containerStatuses"])
