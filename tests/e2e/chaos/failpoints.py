"""Failpoints of the running operators and facades: turned on by the chart, armed over the pods' own ports.

A pod is reached from its node, which NetworkPolicies always let through.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, Literal

import pykube

from tests.e2e.chaos import leader
from tests.e2e.chaos.machine import Machine
from tests.e2e.conftest import ROOT, Installation
from tests.e2e.objects import SYSTEM, eventually

Component = Literal["operator", "facade"]
Effect = Literal["kill", "freeze"]
PORTS: Final = {"operator": 8080, "facade": 8000}

_REQUEST: Final = """
import sys, urllib.request
method, url, body = sys.argv[1:]
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
with opener.open(urllib.request.Request(url, body.encode() or None, method=method), timeout=5) as answer:
    print(answer.read().decode())
"""


@dataclass(frozen=True)
class Points:
    """All processes' failpoints, once they are turned on."""

    machine: Machine
    kube: pykube.HTTPClient

    def pods(self, component: Component) -> list[pykube.Pod]:
        """Return the component's ready pods that are not being deleted."""
        selector = {"app.kubernetes.io/name": "driftstack", "app.kubernetes.io/component": component}
        pods = pykube.Pod.objects(self.kube, namespace=SYSTEM).filter(selector=selector)
        return [pod for pod in pods if pod.ready and "deletionTimestamp" not in pod.metadata]

    def leader(self) -> pykube.Pod:
        """Return the operator that leads, waiting for one."""

        def find() -> pykube.Pod | None:
            holder = leader.holder(self.kube)
            return next((pod for pod in self.pods("operator") if leader.leads(pod, holder)), None)

        return eventually(find, 30, "an operator leads")

    def arm(self, pod: pykube.Pod, name: str, effect: Effect = "kill", skip: int = 0) -> None:
        """Have the pod's process killed or frozen when it reaches the point, after `skip` passes."""
        self._ask(pod, "PUT", f"/failpoints/{name}", json.dumps({"effect": effect, "skip": skip}))

    def reached(self, pod: pykube.Pod) -> dict[str, int]:
        """Return how often the pod's process has passed each point; a frozen one doesn't answer."""
        return dict(self._ask(pod, "GET", "/failpoints")["reached"])

    def armed(self, pod: pykube.Pod) -> list[str]:
        """Return the points that are armed and were not reached yet."""
        return list(self._ask(pod, "GET", "/failpoints")["armed"])

    def _ask(self, pod: pykube.Pod, method: str, path: str, body: str = "") -> dict[str, Any]:
        port = PORTS[pod.labels["app.kubernetes.io/component"]]
        url = f"http://{pod.obj['status']['podIP']}:{port}{path}"
        answer: dict[str, Any] = json.loads(self.machine.inside(sys.executable, "-c", _REQUEST, method, url, body))
        return answer


@contextlib.contextmanager
def enabled(installation: Installation, helm: str) -> Iterator[None]:
    """Operators and facades with failpoints; without them again afterwards."""
    _upgrade(installation, helm, "true")
    try:
        yield
    finally:
        _upgrade(installation, helm, "false")


def _upgrade(installation: Installation, helm: str, value: str) -> None:
    chart = ROOT / "charts" / "driftstack"
    command = [helm, "upgrade", "driftstack", str(chart), "--namespace", SYSTEM]
    command += ["--kubeconfig", str(installation.kubeconfig), "--skip-crds", "--force-conflicts"]
    command += ["--reset-then-reuse-values", "--set", f"testing.failpoints={value}", "--wait", "--timeout", "120s"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=180, check=False)
    assert done.returncode == 0, done.stderr
