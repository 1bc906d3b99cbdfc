"""Things that are removed: what lives in them, what is left, and callers who ask meanwhile."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import httpx2
import pykube

from driftstack_cluster import settings
from tests.e2e.chaos.machine import Machine
from tests.e2e.conftest import ROOT, Installation, Tenant
from tests.e2e.objects import BROWSERS, SYSTEM, Account, apply_session, eventually, wait_ready

REF = "driftstack.dev/session-ref"


def populate(kube: pykube.HTTPClient, installation: Installation, tenant: Tenant) -> threading.Thread:
    """Give an account a ready session, one in a step, and one that is creating; return the step's thread."""
    apply_session(kube, tenant.namespace, "ready")
    wait_ready(kube, tenant.namespace, "ready")
    busy = tenant.create()["id"]
    url = f"{installation.page}slow?ms=60000"

    def step() -> None:
        with suppress(httpx2.HTTPError):  # its session ends under it
            tenant.api.post(f"/v1/sessions/{busy}/navigate", json={"url": url, "timeout_ms": 90000})

    thread = threading.Thread(target=step, name="step")
    thread.start()
    eventually(lambda: tenant.get(busy)["status"] == "busy", 10, "a step runs")
    apply_session(kube, tenant.namespace, "creating")
    return thread


def pods_of(kube: pykube.HTTPClient, namespace: str) -> list[str]:
    """Return the names of the browser pods of an account."""
    pods = pykube.Pod.objects(kube, namespace=BROWSERS)
    return [pod.name for pod in pods if pod.annotations.get(REF, "").startswith(f"{namespace}/")]


def uid_of(kube: pykube.HTTPClient, namespace: str) -> str | None:
    """Return the uid of a namespace, None when there is none."""
    found = pykube.Namespace.objects(kube).get_or_none(name=namespace)
    return None if found is None else str(found.metadata["uid"])


def condition(kube: pykube.HTTPClient, account: str) -> dict[str, str]:
    """Return an account's condition Ready, empty when it has none."""
    found = Account.objects(kube).get_or_none(name=account)
    conditions = [] if found is None else found.obj.get("status", {}).get("conditions", [])
    return next((dict(c) for c in conditions if c["type"] == "Ready"), {})


@contextmanager
def asking(installation: Installation, tenant: Tenant) -> Iterator[Counter[int]]:
    """Have somebody list and create by REST ten times a second; yields the answers by status, 0 for none."""
    answers: Counter[int] = Counter()
    stop = threading.Event()
    headers = {"Authorization": f"Bearer {tenant.key}"}

    def ask() -> None:
        with httpx2.Client(base_url=installation.url, headers=headers, timeout=30, trust_env=False) as api:
            for number in range(10_000):
                if stop.wait(0.1):
                    return
                method = "POST" if number % 4 == 3 else "GET"
                try:
                    answer = api.request(method, "/v1/sessions")
                except httpx2.TransportError:
                    answers[0] += 1
                else:
                    told = answer.status_code != 503 or "Retry-After" in answer.headers
                    answers[answer.status_code if told else -503] += 1

    thread = threading.Thread(target=ask, name="asking")
    thread.start()
    try:
        yield answers
    finally:
        stop.set()
        thread.join(40)


def kill_operators(machine: Machine, kube: pykube.HTTPClient) -> None:
    """SIGKILL every operator there is."""
    selector = {"app.kubernetes.io/component": "operator"}
    for pod in pykube.Pod.objects(kube, namespace=SYSTEM).filter(selector=selector):
        for pid in machine.pids(pod.metadata["uid"]):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def make_up(*, seconds: float = 300) -> None:
    """Restore the installation, as `make up` does."""
    chosen = settings.load(ROOT)
    environment = {**os.environ, "INSTANCE": str(chosen.instance), "NODES": str(chosen.nodes)}
    command = [ROOT / ".venv/bin/python", "-m", "driftstack_cluster", "up"]
    done = subprocess.run(
        command, cwd=ROOT, env=environment, check=False, capture_output=True, text=True, timeout=seconds
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]


def available(kube: pykube.HTTPClient) -> bool:
    """Whether operator and facade have all the replicas they ask for."""
    for name in ("driftstack-operator", "driftstack-facade"):
        obj = pykube.Deployment.objects(kube, namespace=SYSTEM).get(name=name).obj
        wanted, status = obj["spec"]["replicas"], obj.get("status", {})
        if status.get("availableReplicas", 0) != wanted or status.get("updatedReplicas", 0) != wanted:
            return False
    return True


class Clock:
    """Seconds since it was made."""

    def __init__(self) -> None:
        self._begun = time.monotonic()

    @property
    def seconds(self) -> float:
        """How many."""
        return time.monotonic() - self._begun
