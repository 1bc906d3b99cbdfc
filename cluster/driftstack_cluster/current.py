"""The cluster of the user's own kubeconfig: asks first, and changes nothing but what the chart installs."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Sequence
from pathlib import Path

from driftstack_cluster import clients
from driftstack_cluster.backend import Access, Image
from driftstack_cluster.certificates import write_atomically
from driftstack_cluster.errors import CommandFailed, Precondition
from driftstack_cluster.progress import Progress
from driftstack_cluster.settings import Settings
from driftstack_cluster.shell import local_environment, proxy_environment, run

_FORWARD = "http://127.0.0.1:30080"
_GONE = "If that cluster is gone for good, remove the folder .driftstack and run `make down` again."
_HINT = "Check it with `kubectl get nodes`, or leave CLUSTER away for a cluster on this machine."


class Current:
    """Whatever the current context points at."""

    name = "current"

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.kubeconfig = settings.output / "kubeconfig"
        self._kubectl = Path("kubectl")

    def up(self, progress: Progress) -> Access:
        """Asks, checks that the cluster answers, and keeps its kubeconfig.

        Raises:
            Precondition: no such file, no registry, no answer from the cluster, or the user said no.
        """
        if not self.settings.user_kubeconfig.exists():
            raise Precondition(f"CLUSTER=current, but {self.settings.user_kubeconfig} does not exist", _HINT)
        self._registry()  # not only after minutes of building
        programs = clients.find(self.settings, progress)
        self._kubectl = programs.kubectl
        context = self._read_only("config", "current-context").strip()
        server = self._read_only("config", "view", "--minify", "-o", "jsonpath={.clusters[0].cluster.server}")
        self._read_only("version", "--request-timeout=15s")
        confirm(f"Install Driftstack into the cluster {context} ({server})?", self.settings.yes)
        content = self._read_only("config", "view", "--minify", "--flatten", "--raw")
        write_atomically(self.kubeconfig, content.encode())
        progress.warn(
            "every node that runs browsers needs cluster/seccomp/chromium.json as "
            "seccomp/driftstack/chromium.json in its kubelet's folder, and a network that enforces policies"
        )
        progress.info(
            f"facade: kubectl -n driftstack-system port-forward svc/driftstack-facade 30080:80 -> {_FORWARD}"
        )
        return Access(
            backend=self.name,
            kubeconfig=self.kubeconfig,
            facade_url=_FORWARD,
            demo_url="https://example.com/",
            kubectl=programs.kubectl,
            helm=programs.helm,
            facade_is_forwarded=True,
        )

    def load(self, images: Sequence[Image], progress: Progress) -> dict[str, str]:
        """Pushes the images to the user's registry, from where the cluster pulls them.

        Raises:
            Precondition: no registry was named.
        """
        registry = self._registry()
        pushed = {}
        with progress.step(f"Push images to {registry}") as step:
            for image in images:
                target = f"{registry}/{image.reference.partition('/')[2]}"
                step.note(image.component)
                _push(image, target)
                pushed[image.component] = target
        return pushed

    def installed(self) -> str:
        """What was installed last."""
        with contextlib.suppress(OSError):
            return self._marker().read_text()
        return ""

    def remember(self, installed: str) -> None:
        """Keeps what is installed."""
        write_atomically(self._marker(), installed.encode())

    def down(self, progress: Progress) -> None:
        """Uninstalls the release; asks first."""
        if not self.kubeconfig.exists():
            progress.info("Nothing of this checkout is installed in a cluster of yours.")
            return
        confirm("Uninstall Driftstack from the cluster in .driftstack/kubeconfig?", self.settings.yes)
        programs = clients.find(self.settings, progress)
        with progress.step("Uninstall the chart"):
            target = ["-n", "driftstack-system", "--kubeconfig", self.kubeconfig]
            run(
                [programs.helm, "uninstall", "driftstack", "--ignore-not-found", *target],
                environment=_environment(),
                timeout=300,
                hint=_GONE,
            )
        self._marker().unlink(missing_ok=True)
        self.settings.forget_access()

    def status(self, progress: Progress) -> bool:
        """Tells whether the cluster answers."""
        programs = clients.find(self.settings, progress)
        argv = [programs.kubectl, f"--kubeconfig={self.kubeconfig}", "get", "nodes", "--request-timeout=15s"]
        for line in run(argv, environment=_environment()).splitlines():
            progress.info(line)
        return True

    def _registry(self) -> str:
        registry = self.settings.registry.rstrip("/")
        if not registry:
            raise Precondition(
                "this cluster must pull the images from somewhere",
                "Name a registry you may push to: CLUSTER=current REGISTRY=registry.example.com/team make up",
            )
        return registry

    def _read_only(self, *argv: str) -> str:
        file = self.settings.user_kubeconfig
        try:
            return run([self._kubectl, f"--kubeconfig={file}", *argv], environment=_environment(), timeout=60)
        except CommandFailed as error:
            raise Precondition(f"the cluster of {file} does not answer:\n{error}", _HINT) from error

    def _marker(self) -> Path:
        return self.settings.output / "current-installed"


def confirm(question: str, yes: bool) -> None:
    """Asks the person at the terminal.

    Raises:
        Precondition: they said no, or there is nobody to ask.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        raise Precondition(f"{question} Nobody is there to answer.", "Say so beforehand with YES=1.")
    if input(f"{question} [y/N] ").strip().lower() not in {"y", "yes"}:
        raise Precondition("nothing was changed", "")


def _environment() -> dict[str, str]:
    # Unlike a cluster of ours, this one may well lie behind a proxy.
    return {**local_environment(), **proxy_environment()}


def _push(image: Image, target: str) -> None:
    if image.archive is None:
        run(["docker", "tag", image.reference, target])
        run(["docker", "push", target], timeout=1200)
        return
    run(["buildah", "pull", f"docker-archive:{image.archive}"], timeout=600)
    run(["buildah", "push", image.reference, f"docker://{target}"], timeout=1200)
