"""What the machine must have before a node can run on it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from driftstack_cluster.containers import PLUGINS
from driftstack_cluster.errors import Precondition
from driftstack_cluster.progress import Progress
from driftstack_cluster.shell import run

# Program -> Debian package.
_PROGRAMS = {
    "containerd": "containerd",
    "ctr": "containerd",
    "runc": "runc",
    str(PLUGINS / "ptp"): "containernetworking-plugins",
    "iptables": "iptables",
    "iptables-restore": "iptables",
    "conntrack": "conntrack",
    "ip": "iproute2",
    "nsenter": "util-linux",
    "mount": "mount",
    "sysctl": "procps",
    "buildah": "buildah",
    "mmdebstrap": "mmdebstrap",
}
_SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def require_root() -> None:
    """Refuses to go on as somebody else.

    Raises:
        Precondition: not root.
    """
    if os.geteuid() != 0:
        raise Precondition(
            "the embedded node needs root: it makes network namespaces, mounts and control groups",
            "Run `sudo make up`, or start Docker so that kind is used instead.",
        )


def missing_packages() -> list[str]:
    """Debian packages of programs that are not there."""
    path = os.pathsep.join([os.environ.get("PATH", ""), _SYSTEM_PATH])
    return sorted({package for program, package in _PROGRAMS.items() if not shutil.which(program, path=path)})


def ensure_packages(progress: Progress) -> None:
    """Installs what is missing, from the machine's own sources.

    Raises:
        Precondition: no apt here, or a package cannot be had.
    """
    missing = missing_packages()
    if not missing:
        return
    names = " ".join(missing)
    if shutil.which("apt-get") is None:
        raise Precondition(f"these packages (Debian's names) are missing: {names}", "Install them and try again.")
    with progress.step("Install Debian packages") as step:
        step.note(names)
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        hint = f"See whether `apt-get update && apt-get install {names}` works."
        # The lists of a fresh machine are empty or old.
        run(["apt-get", "-qq", "update"], environment=environment, timeout=600, hint=hint)
        install = ["apt-get", "-qq", "install", "--yes", "--no-install-recommends", *missing]
        run(install, environment=environment, timeout=1200, hint=hint)


def upstream_resolvers() -> tuple[str, ...]:
    """The host's resolvers that a network namespace can reach (not those on loopback)."""
    for file in (Path("/run/systemd/resolve/resolv.conf"), Path("/etc/resolv.conf")):
        if not file.exists():
            continue
        lines = [line.split() for line in file.read_text().splitlines() if line.startswith("nameserver")]
        found = tuple(words[1] for words in lines if len(words) > 1 and not words[1].startswith("127."))
        if found:
            return tuple(address for address in found if ":" not in address) or found
    return ()
