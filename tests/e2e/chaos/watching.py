"""The operators as the cluster's own tools see them: their pods, connections, health, and how to cut them off."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx2
import pykube

from tests.e2e.chaos.machine import Machine
from tests.e2e.conftest import Installation, Tenant
from tests.e2e.objects import BROWSERS, SYSTEM, SessionRecord, browser_pod, eventually

API_PORT = "6443"
FETCH = """
import sys, urllib.error, urllib.request
try:
    print(urllib.request.urlopen(sys.argv[1], timeout=5).read().decode())
except urllib.error.HTTPError as error:
    print(error.read().decode())
"""


def operators(kube: pykube.HTTPClient) -> list[pykube.Pod]:
    """Return the operators' pods that run, one or two."""
    pods = pykube.Pod.objects(kube, namespace=SYSTEM).filter(selector={"app.kubernetes.io/component": "operator"})
    return [pod for pod in pods if pod.ready and "deletionTimestamp" not in pod.metadata]


def readiness(machine: Machine, pod: pykube.Pod) -> dict[str, Any]:
    """Return what an operator itself says of its readiness."""
    url = f"http://{pod.obj['status']['podIP']}:8080/readyz"
    said: dict[str, Any] = json.loads(machine.inside(sys.executable, "-c", FETCH, url))
    return said


def liveness_kills(kube: pykube.HTTPClient) -> int:
    """Count how often kubelets have killed a container of ours for its liveness probe."""
    events = pykube.Event.objects(kube, namespace=SYSTEM).filter(field_selector={"reason": "Killing"})
    return sum(event.obj.get("count") or 1 for event in events if "liveness" in event.obj["message"])


def settled(kube: pykube.HTTPClient) -> None:
    """Wait until every operator is ready."""

    def look() -> bool:
        pods = pykube.Pod.objects(kube, namespace=SYSTEM).filter(
            selector={"app.kubernetes.io/component": "operator"}
        )
        return bool(list(pods)) and all(pod.ready for pod in pods)

    eventually(tolerant(look), 60, "the operators are ready")


def tolerant(look: Callable[[], Any]) -> Callable[[], Any]:
    """Return a look that is false while the API server can't be asked."""

    def patient() -> Any:
        try:
            return look()
        except (OSError, pykube.exceptions.HTTPError):  # requests' errors are OSErrors
            return None

    return patient


@contextlib.contextmanager
def cut_off(machine: Machine, pods: list[pykube.Pod]) -> Iterator[None]:
    """Drop every packet between these pods and the API server, silently, in both directions."""
    with contextlib.ExitStack() as stack:
        for address in [pod.obj["status"]["podIP"] for pod in pods]:
            to, back = ("-s", address, "--dport"), ("-d", address, "--sport")
            stack.enter_context(machine.rule("INPUT", "-p", "tcp", *to, API_PORT, "-j", "DROP"))
            stack.enter_context(machine.rule("OUTPUT", "-p", "tcp", *back, API_PORT, "-j", "DROP"))
        yield


@contextlib.contextmanager
def silenced(machine: Machine, pod: pykube.Pod, port: str) -> Iterator[None]:
    """Drop every packet of one connection to the API server, by its port in the pod; others live."""
    address = pod.obj["status"]["podIP"]
    to = ("-s", address, "--sport", port, "--dport", API_PORT)
    back = ("-d", address, "--dport", port, "--sport", API_PORT)
    with (
        machine.rule("INPUT", "-p", "tcp", *to, "-j", "DROP"),
        machine.rule("OUTPUT", "-p", "tcp", *back, "-j", "DROP"),
    ):
        yield


def connections(machine: Machine, pod: pykube.Pod) -> list[str]:
    """Return the pod's ports of its connections to the API server."""
    address = pod.obj["status"]["podIP"]
    listed = machine.inside("ss", "-Htn", "state", "established", f"( sport = :{API_PORT} and dst {address} )")
    return sorted({line.split()[-1].rpartition(":")[2] for line in listed.splitlines()})


def take_pod(installation: Installation, kube: pykube.HTTPClient, session: str) -> None:
    """Remove a session's pod from the API server at once, as if it had never been."""
    pod = browser_pod(kube, uid_of(session))
    assert pod is not None
    installation.run_kubectl("delete", "pod", "-n", BROWSERS, pod.name, "--force", "--grace-period=0")


def kill_pod(machine: Machine, pod: pykube.Pod) -> None:
    """Kill all processes of a pod, behind the API server's back."""
    for pid in machine.pids(pod.metadata["uid"]):
        with contextlib.suppress(ProcessLookupError):  # the first to die takes others with it
            os.kill(pid, signal.SIGKILL)


def end_seen(kube: pykube.HTTPClient, tenant: Tenant, session: str, since: float, seconds: float = 30) -> float:
    """Wait for the record of a session whose pod was taken; return the seconds since that moment."""
    records = SessionRecord.objects(kube, namespace=tenant.namespace)
    look = tolerant(lambda: records.get_or_none(name=uid_of(session)))
    record = eventually(look, seconds, f"record of {session}")
    took = time.monotonic() - since
    assert record.spec["reason"] == "PodDeleted", record.spec
    return took


def uid_of(session: str) -> str:
    """Return the uid in a public id."""
    return session.removeprefix("ses_")


def works(tenant: Tenant) -> None:
    """Start a session and end it; scheduler, kubelet and controllers may need a minute to find the API server."""
    made = eventually(lambda: _started(tenant), 120, "a session starts")
    assert tenant.api.delete(f"/v1/sessions/{made}").status_code == 204


def _started(tenant: Tenant) -> str | None:
    try:
        answer = tenant.api.post("/v1/sessions", json={}, headers={"Prefer": "wait=30"})
    except httpx2.HTTPError:
        return None
    assert answer.status_code in (201, 503), answer.text  # 503: the facade may not trust its own eyes yet
    if answer.status_code == 503:
        return None
    made = str(answer.json()["id"])
    eventually(lambda: tenant.get(made)["status"] != "creating", 90, "the session is ready or has failed")
    return made if tenant.get(made)["status"] == "ready" else None
