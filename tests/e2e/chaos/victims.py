"""A process that is about to die: which pod it is in, when it died, and that the next one runs."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pykube

from tests.e2e.chaos.failpoints import Points
from tests.e2e.objects import SYSTEM, eventually


class Victim:
    """The process of a pod, armed to die at a point.

    Args:
        points: reaches the pod.
        pod: the operator that leads, or a facade.
    """

    def __init__(self, points: Points, pod: pykube.Pod) -> None:
        self.pod = pod
        self._points = points
        self._died = threading.Event()
        self._died_at = 0.0

    def arm(self, point: str) -> None:
        """Have it die there, and note when it does."""
        pid = self._points.machine.pids(self.pod.metadata["uid"])[0]
        threading.Thread(target=self._watch, args=(Path(f"/proc/{pid}/exe"),), daemon=True).start()
        self._points.arm(self.pod, point)

    def since_death(self, seconds: float = 20.0) -> float:
        """Return how long it has been dead, seconds; it must have died by now."""
        assert self._died.wait(seconds), "the point was never reached"
        return time.monotonic() - self._died_at

    def replace(self) -> None:
        """Have a new pod instead: the kubelet makes a container wait that has died several times."""
        self.pod.delete()
        eventually(self._succeeded, 60, f"a new {self.component} is ready")

    @property
    def component(self) -> str:
        return str(self.pod.labels["app.kubernetes.io/component"])

    def _succeeded(self) -> bool:
        deployment = pykube.Deployment.objects(self._points.kube, namespace=SYSTEM).get(
            name=f"driftstack-{self.component}"
        )
        ready = [pod for pod in self._points.pods(self.component) if pod.name != self.pod.name]
        return len(ready) >= deployment.obj["spec"]["replicas"]

    def _watch(self, process: Path) -> None:
        # A killed process has no executable, even before its parent has asked for its exit code.
        while _lives(process):
            time.sleep(0.005)
        self._died_at = time.monotonic()
        self._died.set()


def _lives(process: Path) -> bool:
    try:
        process.readlink()
    except OSError:
        return False
    return True
