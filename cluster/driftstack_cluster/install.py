"""Puts Driftstack into a cluster by its chart; does nothing when nothing changed and all of it runs."""

from __future__ import annotations

import hashlib
import json
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from driftstack_cluster.backend import Access, Backend
from driftstack_cluster.errors import CommandFailed, NotReady
from driftstack_cluster.progress import Progress
from driftstack_cluster.shell import local_environment, proxy_environment, run

NAMESPACE = "driftstack-system"
RELEASE = "driftstack"
_WAIT_SECONDS = 240
_ANSWER_SECONDS = 60.0


@dataclass(frozen=True)
class Installer:
    """One chart for one cluster."""

    access: Access
    chart: Path

    def prepare(self, backend: Backend) -> None:
        """Tells a new cluster of our kinds, before the images are built.

        The quota controller looks for new kinds twice a minute, and no account is ready before it has seen ours.
        """
        if not backend.installed():
            self._apply_crds()

    def run(self, backend: Backend, images: dict[str, str], progress: Progress) -> None:
        """Installs or updates the release and waits until it answers.

        Raises:
            CommandFailed: Helm refused, with the pods' state.
            NotReady: the facade does not answer.
        """
        wanted = fingerprint(self.chart, images, self.access.values)
        if backend.installed() == wanted and self.is_available():
            progress.info("Driftstack is installed and runs")
        else:
            with progress.step("Install Driftstack") as step:
                step.note(", ".join(images.values()))
                self._apply_crds()
                self._forget_interrupted()
                self._upgrade(images)
            backend.remember(wanted)
        if not self.access.facade_is_forwarded:
            with progress.step("Wait for the facade") as step:
                step.note(self.access.facade_url)
                self._wait_for_answer()

    def is_available(self) -> bool:
        """Whether all deployments have what they ask for, and there is something to start browsers from."""
        try:
            listing = json.loads(self._kubectl("get", "deployments", "-n", NAMESPACE, "-o", "json"))
            if not self._kubectl("get", "browserpools", "-A", "-o", "name").strip():
                return False
        except CommandFailed:
            return False
        items = listing["items"]
        return bool(items) and all(_is_available(item) for item in items)

    def _apply_crds(self) -> None:
        # Helm installs the chart's CRDs once and never touches them again.
        folder = self.chart / "crds"
        if folder.is_dir():
            self._kubectl("apply", "--server-side", "--force-conflicts", "-f", str(folder))
            self._kubectl("wait", "--for=condition=Established", "--timeout=60s", "-f", str(folder))

    def _forget_interrupted(self) -> None:
        # Ctrl-C in the middle of an upgrade leaves a release that Helm refuses to touch.
        states = "pending-install,pending-upgrade,pending-rollback"
        selector = f"owner=helm,name={RELEASE},status in ({states})"
        self._kubectl("delete", "secret", "-n", NAMESPACE, "-l", selector, "--ignore-not-found")

    def _upgrade(self, images: dict[str, str]) -> None:
        settings: list[str] = []
        for component, reference in sorted(images.items()):
            settings += ["--set-string", f"images.{component}={reference}"]
        for key, value in sorted(self.access.values.items()):
            settings += ["--set-json", f"{key}={value}"]
        try:
            run(
                [
                    *(self.access.helm, "upgrade", "--install", RELEASE, self.chart, "--namespace", NAMESPACE),
                    *("--kubeconfig", self.access.kubeconfig, "--create-namespace", "--skip-crds"),
                    "--force-conflicts",  # what somebody edited by hand is the checkout's again
                    *("--wait", "--timeout", f"{_WAIT_SECONDS}s", *settings),
                ],
                environment=self._environment(),
                timeout=_WAIT_SECONDS + 60,
            )
        except CommandFailed as error:
            hint = f"`kubectl -n {NAMESPACE} describe pods` says more.\n{self._situation()}"
            raise CommandFailed("helm upgrade", error.code, error.output, hint) from error

    def _situation(self) -> str:
        try:
            pods = self._kubectl("get", "pods", "-n", NAMESPACE, "-o", "wide")
            events = self._kubectl("get", "events", "-n", NAMESPACE, "--sort-by=.lastTimestamp")
        except CommandFailed as error:
            return str(error)
        return "\n".join([pods, *events.splitlines()[-8:]])

    def _wait_for_answer(self) -> None:
        deadline = time.monotonic() + _ANSWER_SECONDS
        while not answers(f"{self.access.facade_url}/readyz"):
            if time.monotonic() > deadline:
                raise NotReady(
                    f"the facade does not answer at {self.access.facade_url}/readyz",
                    f"`kubectl -n {NAMESPACE} logs deploy/driftstack-facade` says more.\n{self._situation()}",
                )
            time.sleep(0.3)

    def _kubectl(self, *argv: str) -> str:
        command = [self.access.kubectl, f"--kubeconfig={self.access.kubeconfig}", *argv]
        return run(command, environment=self._environment(), timeout=120)

    def _environment(self) -> dict[str, str]:
        local = local_environment()
        return {**local, **proxy_environment()} if self.access.backend == "current" else local


def fingerprint(chart: Path, images: dict[str, str], values: dict[str, str]) -> str:
    """Changes with the chart, the images and the values."""
    digest = hashlib.sha256(json.dumps([images, values], sort_keys=True).encode())
    for file in sorted(path for path in chart.rglob("*") if path.is_file()):
        digest.update(str(file.relative_to(chart)).encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()[:16]


def answers(url: str) -> bool:
    """Whether a GET is answered with 200, past any proxy."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=3) as response:
            return int(response.status) == 200
    except (urllib.error.URLError, OSError):
        return False


def _is_available(deployment: dict[str, Any]) -> bool:
    status, wanted = deployment.get("status", {}), deployment["spec"].get("replicas", 1)
    return bool(
        status.get("observedGeneration", 0) >= deployment["metadata"]["generation"]
        and status.get("updatedReplicas", 0) == wanted
        and status.get("availableReplicas", 0) == wanted
    )
