"""kubectl and Helm for a cluster that is not ours to build: the user's own, or built where missing."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from driftstack_cluster import toolchain
from driftstack_cluster.progress import Progress
from driftstack_cluster.settings import Settings


@dataclass(frozen=True)
class Clients:
    """The two programs."""

    kubectl: Path
    helm: Path


def find(settings: Settings, progress: Progress) -> Clients:
    """Prefers what is built already, then what is installed; builds what is neither."""
    built = toolchain.tools(settings.checkout, settings.cache)
    kubectl, helm = shutil.which("kubectl"), shutil.which("helm")
    if not built.are_complete() and not (kubectl and helm):
        built = toolchain.ensure(settings.checkout, settings.cache, progress)
    if built.are_complete():
        return Clients(built.kubectl, built.helm)
    return Clients(Path(str(kubectl)), Path(str(helm)))
