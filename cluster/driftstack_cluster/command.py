"""What the commands do: choose a backend, bring it up, load images, install, say where to go."""

from __future__ import annotations

import json
import shutil

from driftstack_cluster import images, kind, lock, state, teardown
from driftstack_cluster.backend import Access, Backend
from driftstack_cluster.certificates import write_atomically
from driftstack_cluster.current import Current
from driftstack_cluster.errors import Precondition
from driftstack_cluster.install import Installer
from driftstack_cluster.layout import Layout
from driftstack_cluster.node import EmbeddedNode
from driftstack_cluster.progress import Progress
from driftstack_cluster.settings import Settings


def choose(settings: Settings) -> Backend:
    """The user's choice; without one kind where Docker answers, else the embedded node.

    A cluster that this checkout already has is kept: starting Docker must not move it elsewhere.
    """
    wanted = settings.cluster
    if wanted == "auto":
        wanted = _present(settings) or ("kind" if kind.docker_answers() else "embedded")
    backends: dict[str, type[Current] | type[kind.Kind] | type[EmbeddedNode]] = {
        "current": Current,
        "kind": kind.Kind,
        "embedded": EmbeddedNode,
    }
    return backends[wanted](settings)


def up(settings: Settings, progress: Progress, cluster_only: bool = False) -> Access:
    """Brings everything up.

    Args:
        settings: the user's choices.
        progress: where steps report to.
        cluster_only: without images and chart.

    Raises:
        ClusterError: with what to do.
    """
    with lock.held(Layout(settings.instance).lock, "make up", progress.info):
        backend = choose(settings)
        _refuse_a_second(settings, backend)
        access = backend.up(progress)
        write_access(settings, access)
        if not cluster_only:
            installer = Installer(access, settings.checkout / "charts" / "driftstack")
            installer.prepare(backend)
            embedded = backend.name == EmbeddedNode.name
            built = images.build(progress, settings.checkout, settings.cache, archives=embedded)
            installer.run(backend, backend.load(built, progress), progress)
    _tell(settings, access, progress)
    return access


def build_images(settings: Settings, progress: Progress, refresh: bool) -> None:
    """Builds the images for the cluster that `up` would choose; loading them is `up`'s work."""
    embedded = choose(settings).name == EmbeddedNode.name
    for image in images.build(progress, settings.checkout, settings.cache, refresh=refresh, archives=embedded):
        progress.info(f"{image.reference}{'' if image.changed else ' (unchanged)'}")


def down(settings: Settings, progress: Progress) -> None:
    """Takes everything away."""
    with lock.held(Layout(settings.instance).lock, "make down", progress.info):
        choose(settings).down(progress)
        with images.unless_building(settings.cache) as folder:
            if folder is not None:
                teardown.clear_build(folder)


def status(settings: Settings, progress: Progress) -> bool:
    """Tells what runs."""
    return choose(settings).status(progress)


def write_access(settings: Settings, access: Access) -> None:
    """Writes `.driftstack/cluster.json` for other tools."""
    content = {
        "backend": access.backend,
        "kubeconfig": str(access.kubeconfig),
        "node_address": access.node_address,
        "node_namespace": access.node_namespace,
        "facade_url": access.facade_url,
        "demo_url": access.demo_url,
        "kubectl": str(access.kubectl),
        "helm": str(access.helm),
        "versions": access.versions,
        "forbidden_addresses": list(access.probes),
        "policies_enforced": access.policies_enforced,
    }
    text = json.dumps(content, indent=2) + "\n"
    write_atomically(settings.output / "cluster.json", text.encode(), mode=0o644)


def read_access(settings: Settings) -> dict[str, str]:
    """What `up` wrote.

    Raises:
        Precondition: there is nothing yet.
    """
    try:
        content = json.loads((settings.output / "cluster.json").read_text())
    except (OSError, ValueError) as error:
        raise Precondition("no cluster of this checkout", "Bring one up with `make up`.") from error
    return {name: value for name, value in content.items() if isinstance(value, str)}


def _refuse_a_second(settings: Settings, backend: Backend) -> None:
    # `.driftstack` tells of one cluster: the other would run on, and `make down` would not know it.
    present = _present(settings)
    if present not in ("", backend.name):
        raise Precondition(
            f"this checkout has a cluster already ({present}), and CLUSTER={backend.name} is another",
            "Take it away with `make down` first, or leave CLUSTER away to go on with it.",
        )


def _present(settings: Settings) -> str:
    try:
        return read_access(settings)["backend"]
    except (Precondition, KeyError):
        # An `up` that was interrupted before it wrote the file may have left a node all the same.
        owner = state.load(Layout(settings.instance).state / "state.json").checkout
        return EmbeddedNode.name if owner == str(settings.checkout) else ""


def _tell(settings: Settings, access: Access, progress: Progress) -> None:
    progress.info(f"up after {progress.total():.1f} s")
    progress.info(f"export KUBECONFIG={access.kubeconfig}")
    if shutil.which("kubectl") != str(access.kubectl):
        progress.info(f"kubectl of the same version: {access.kubectl}")
    if settings.egress:
        progress.warn("EGRESS=on: browsers reach the internet through this machine")
