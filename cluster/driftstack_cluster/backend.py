"""What every way to a cluster offers, and what it returns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from driftstack_cluster.progress import Progress


class Image(Protocol):
    """A built image."""

    @property
    def component(self) -> str:
        """operator, facade or agent."""

    @property
    def reference(self) -> str:
        """Name and tag."""

    @property
    def archive(self) -> Path | None:
        """Docker archive; None where Docker holds the image itself."""


@dataclass(frozen=True)
class Access:
    """How to reach a cluster that is up.

    Attributes:
        backend: current, kind or embedded.
        kubeconfig: for administrators.
        facade_url: the REST door as this machine reaches it.
        demo_url: the demo page as a browser in the cluster reaches it; "" where there is none.
        kubectl: program to call.
        helm: program to call.
        values: chart values that this kind of cluster needs, as `--set-json` pairs.
        node_address: address of the first node, "" where unknown.
        versions: what runs, for people.
        probes: addresses that answer but must not be reachable for a browser.
        policies_enforced: whether NetworkPolicies hold.
        node_namespace: network namespace of the first node, "" where there is none.
        facade_is_forwarded: the facade answers only while the user forwards its port.
    """

    backend: str
    kubeconfig: Path
    facade_url: str
    demo_url: str
    kubectl: Path
    helm: Path
    values: dict[str, str] = field(default_factory=dict)
    node_address: str = ""
    versions: dict[str, str] = field(default_factory=dict)
    probes: tuple[str, ...] = ()
    policies_enforced: bool = True
    node_namespace: str = ""
    facade_is_forwarded: bool = False


class Backend(Protocol):
    """One way to a cluster."""

    name: str

    def up(self, progress: Progress) -> Access:
        """Brings the cluster up, or finds it up; repairs what died."""

    def load(self, images: Sequence[Image], progress: Progress) -> dict[str, str]:
        """Gives the nodes the images they lack; returns the references to use, by component."""

    def installed(self) -> str:
        """Hash of what was installed last, "" if nothing."""

    def remember(self, installed: str) -> None:
        """Keeps that hash as long as the cluster lives."""

    def down(self, progress: Progress) -> None:
        """Removes all that `up` made, but for packages and caches."""

    def status(self, progress: Progress) -> bool:
        """Tells how it is; true if everything runs."""
