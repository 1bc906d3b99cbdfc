"""What the user may choose, read once from the environment."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from driftstack_cluster.errors import Precondition

BACKENDS = ("auto", "current", "kind", "embedded")


@dataclass(frozen=True)
class Settings:
    """The choices for one command.

    Attributes:
        checkout: root of the repository this command runs in.
        cache: where builds are kept, shared by all checkouts.
        cluster: one of `BACKENDS`.
        nodes: 1 or 2 (embedded only).
        egress: whether browsers may reach the internet through this machine (embedded only).
        instance: 0 to 9; nodes with different numbers live side by side (embedded only).
        yes: answer to every question.
        registry: where images are pushed for `cluster=current`, e.g. "registry.example.com/team".
        user_kubeconfig: the user's own kubeconfig, for `cluster=current`.
    """

    checkout: Path
    cache: Path
    cluster: str = "auto"
    nodes: int = 1
    egress: bool = False
    instance: int = 0
    yes: bool = False
    registry: str = ""
    user_kubeconfig: Path = Path("~/.kube/config")

    @property
    def output(self) -> Path:
        """The folder of the checkout that holds what the user needs to reach the cluster."""
        folder = self.checkout / ".driftstack"
        return folder if self.instance == 0 else folder / f"instance-{self.instance}"

    def forget_access(self) -> None:
        """Removes the files that tell how to reach a cluster that is no more."""
        for name in ("kubeconfig", "cluster.json", "env"):
            (self.output / name).unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            self.output.rmdir()


def load(checkout: Path, environment: Mapping[str, str] | None = None) -> Settings:
    """Reads CLUSTER, NODES, EGRESS, INSTANCE, YES and REGISTRY.

    Raises:
        Precondition: a value that means nothing.
    """
    values = os.environ if environment is None else environment
    home = Path(values.get("HOME") or Path.home())
    cache = Path(values.get("XDG_CACHE_HOME") or home / ".cache") / "driftstack"
    kubeconfig = (values.get("KUBECONFIG") or str(home / ".kube" / "config")).split(os.pathsep)[0]
    return Settings(
        checkout=checkout,
        cache=cache,
        cluster=_one_of("CLUSTER", values.get("CLUSTER") or "auto", BACKENDS),
        nodes=int(_one_of("NODES", values.get("NODES") or "1", ("1", "2"))),
        egress=_switch("EGRESS", values.get("EGRESS")),
        instance=int(_one_of("INSTANCE", values.get("INSTANCE") or "0", tuple("0123456789"))),
        yes=_switch("YES", values.get("YES")),
        registry=values.get("REGISTRY", ""),
        user_kubeconfig=Path(kubeconfig).expanduser(),
    )


def _one_of(name: str, value: str, allowed: tuple[str, ...]) -> str:
    if value.lower() not in allowed:
        raise Precondition(f"{name}={value} is unknown", f"Use one of: {', '.join(allowed)}.")
    return value.lower()


def _switch(name: str, value: str | None) -> bool:
    on, off = ("on", "yes", "true", "1"), ("off", "no", "false", "0")
    return _one_of(name, value or "off", (*on, *off)) in on
