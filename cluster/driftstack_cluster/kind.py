"""A cluster by kind, where Docker answers. Kept thin, and checked only by rendering its configuration."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Sequence
from pathlib import Path

import yaml

from driftstack_cluster import clients, toolchain
from driftstack_cluster.backend import Access, Image
from driftstack_cluster.certificates import write_atomically
from driftstack_cluster.errors import Precondition
from driftstack_cluster.layout import FACADE_NODE_PORT
from driftstack_cluster.progress import Progress
from driftstack_cluster.settings import Settings
from driftstack_cluster.shell import run, succeeds

CLUSTER = "driftstack"
KIND_MODULE = "sigs.k8s.io/kind@v0.33.0"
_HALF_MADE = "`make down` removes a half-made cluster."
_PROFILES = "/var/lib/kubelet/seccomp/driftstack"


def configuration(settings: Settings) -> str:
    """Kind's configuration: the seccomp profile mounted into each node, the facade's port on loopback."""
    mount = {
        "hostPath": str(settings.checkout / "cluster" / "seccomp"),
        "containerPath": _PROFILES,
        "readOnly": True,
    }
    port = {
        "containerPort": FACADE_NODE_PORT,
        "hostPort": FACADE_NODE_PORT,
        "listenAddress": "127.0.0.1",
        "protocol": "TCP",
    }
    control = {"role": "control-plane", "extraMounts": [mount], "extraPortMappings": [port]}
    workers = [{"role": "worker", "extraMounts": [dict(mount)]} for _ in range(settings.nodes - 1)]
    content = {"kind": "Cluster", "apiVersion": "kind.x-k8s.io/v1alpha4", "nodes": [control, *workers]}
    return yaml.dump(content, Dumper=_PlainDumper, sort_keys=False)


def docker_answers() -> bool:
    """Whether there is a Docker daemon to talk to."""
    return succeeds(["docker", "info"], timeout=20)


class Kind:
    """One kind cluster by our name."""

    name = "kind"

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.kubeconfig = settings.output / "kubeconfig"

    def up(self, progress: Progress) -> Access:
        """Creates the cluster unless it is there."""
        kind = self._program(progress)
        programs = clients.find(self.settings, progress)
        if CLUSTER not in run([kind, "get", "clusters"]).split():
            check_port(FACADE_NODE_PORT)
            with progress.step("Create a cluster with kind"):
                argv = [kind, "create", "cluster", "--name", CLUSTER, "--wait", "180s", "--config", "-"]
                run(argv, stdin=configuration(self.settings), timeout=900, hint=_HALF_MADE)
        else:
            self._start_nodes(kind)
        content = run([kind, "get", "kubeconfig", "--name", CLUSTER], hint=_HALF_MADE)
        write_atomically(self.kubeconfig, content.encode())
        return Access(
            backend=self.name,
            kubeconfig=self.kubeconfig,
            facade_url=f"http://127.0.0.1:{FACADE_NODE_PORT}",
            # There is no made-up internet here: the demo shows a real page.
            demo_url="https://example.com/",
            kubectl=programs.kubectl,
            helm=programs.helm,
            values={
                "facade.service.type": '"NodePort"',
                "facade.service.nodePort": str(FACADE_NODE_PORT),
                # Receivers of webhooks on a developer's machine.
                "webhooks.allowHttp": "true",
                "webhooks.allowPrivate": "true",
            },
        )

    def load(self, images: Sequence[Image], progress: Progress) -> dict[str, str]:
        """Loads all images; kind itself skips what a node has."""
        kind = self._program(progress)
        with progress.step("Load images into kind"):
            for image in images:
                if image.archive is None:
                    run([kind, "load", "docker-image", image.reference, "--name", CLUSTER])
                else:
                    run([kind, "load", "image-archive", image.archive, "--name", CLUSTER])
        return {image.component: image.reference for image in images}

    def installed(self) -> str:
        """What was installed last."""
        with contextlib.suppress(OSError):
            return self._marker().read_text()
        return ""

    def remember(self, installed: str) -> None:
        """Keeps what is installed."""
        write_atomically(self._marker(), installed.encode())

    def down(self, progress: Progress) -> None:
        """Deletes the cluster."""
        with progress.step("Delete the kind cluster"):
            run([self._program(progress), "delete", "cluster", "--name", CLUSTER])
        self._marker().unlink(missing_ok=True)
        self.settings.forget_access()

    def status(self, progress: Progress) -> bool:
        """Tells whether the cluster is there."""
        there = CLUSTER in run([self._program(progress), "get", "clusters"]).split()
        progress.info(f"kind cluster {CLUSTER}: {'there' if there else 'not there'}")
        return there

    def _program(self, progress: Progress) -> Path:
        return toolchain.ensure_go_tool("kind", KIND_MODULE, self.settings.cache, progress)

    def _start_nodes(self, kind: Path) -> None:
        # After a reboot Docker does not always start them again.
        for node in run([kind, "get", "nodes", "--name", CLUSTER]).split():
            run(["docker", "start", node])

    def _marker(self) -> Path:
        return self.settings.output / "kind-installed"


def check_port(port: int) -> None:
    """Refuses to go on where something else listens.

    Raises:
        Precondition: with the way to find out what it is.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise Precondition(
                f"port {port} on 127.0.0.1 is taken", f"See who has it with `ss -ltnp sport = :{port}`."
            ) from error


class _PlainDumper(yaml.SafeDumper):
    """YAML without anchors, which people read badly."""

    def ignore_aliases(self, data: object) -> bool:
        """Writes equal values twice."""
        return True
