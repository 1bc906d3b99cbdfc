"""Cold start (POST until ready) beside the floor of the same run: a pod that sleeps, from create until Running.

Bound: the median is at most 3.5 times the floor's. The second floor mounts a volume, as a browser pod must: the
kubelet looks for mounted volumes every 300 ms. ROUNDS sets how often (default 20).
"""

from __future__ import annotations

import json
import statistics
import time
from typing import Any

import httpx2
from installation import Installation, open_installation, rounds, show

BROWSERS = "driftstack-browsers"


def sleeping_pod(installation: Installation, image: str, name: str, *, volume: bool) -> float:
    """Return the seconds from the create of a pod that sleeps until a watch shows it Running."""
    context = {
        "runAsNonRoot": True,
        "runAsUser": 1000,
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    sleep = ["python3", "-c", "import time; time.sleep(3600)"]  # the image has no shell
    container = {"name": "c", "image": image, "command": sleep, "securityContext": context}
    spec = {"containers": [container], "terminationGracePeriodSeconds": 0, "automountServiceAccountToken": False}
    if volume:
        container["volumeMounts"] = [{"name": "tmp", "mountPath": "/tmp"}]  # noqa: S108 - a path in the pod
        spec["volumes"] = [{"name": "tmp", "emptyDir": {}}]
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": BROWSERS}, "spec": spec}
    with httpx2.Client(base_url=installation.proxy, trust_env=False, timeout=60) as api:
        started = time.perf_counter()
        api.post(f"/api/v1/namespaces/{BROWSERS}/pods", json=pod).raise_for_status()
        query = {"watch": "1", "fieldSelector": f"metadata.name={name}"}
        with api.stream("GET", f"/api/v1/namespaces/{BROWSERS}/pods", params=query) as events:
            for line in events.iter_lines():
                if _running(json.loads(line)["object"]):
                    elapsed = time.perf_counter() - started
                    break
        api.delete(f"/api/v1/namespaces/{BROWSERS}/pods/{name}")
    return elapsed


def _running(pod: dict[str, Any]) -> bool:
    states = pod["status"].get("containerStatuses", [])
    return any("running" in status["state"] for status in states)


def cold_session(installation: Installation) -> float:
    """Return the seconds of one create that answers once the session is ready; delete it again."""
    started = time.perf_counter()
    session = installation.call("POST", "/v1/sessions", {}, Prefer="wait=30")
    elapsed = time.perf_counter() - started
    assert session["status"] == "ready", session
    installation.call("DELETE", f"/v1/sessions/{session['id']}")
    return elapsed


def main() -> None:
    """Alternate between the three, so that noise meets all."""
    with open_installation() as installation:
        image = installation.run_kubectl("get", "bpool", "default", "-n", BROWSERS, "-o", "jsonpath={.spec.image}")
        floor, mounted, cold = [], [], []
        for number in range(rounds(20)):
            floor.append(sleeping_pod(installation, image, f"bench-{time.time_ns()}", volume=False))
            mounted.append(sleeping_pod(installation, image, f"bench-{time.time_ns()}", volume=True))
            cold.append(cold_session(installation))
            print(f"\r{number + 1} rounds", end="", flush=True)
        print()
        show("sleep pod, create to Running", floor)
        show("sleep pod with a volume", mounted)
        show("session, POST to ready", cold)
        ratios = [statistics.median(cold) / statistics.median(each) for each in (floor, mounted)]
        print(f"ratio of medians {ratios[0]:.2f} (bound 3.5), with a volume {ratios[1]:.2f}")


if __name__ == "__main__":
    main()
