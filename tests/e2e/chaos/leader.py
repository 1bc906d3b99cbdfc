"""Who leads, and how long nobody did."""

from __future__ import annotations

import threading
import time
from types import TracebackType

import pykube
from pykube.objects import NamespacedAPIObject

from tests.e2e.objects import SYSTEM


class Lease(NamespacedAPIObject):
    version, endpoint, kind = "coordination.k8s.io/v1", "leases", "Lease"


def holder(kube: pykube.HTTPClient) -> str:
    """Return the identity that holds the lease, empty when nobody does."""
    lease = Lease.objects(kube, namespace=SYSTEM).get_or_none(name="driftstack-operator")
    return "" if lease is None else str(lease.obj["spec"].get("holderIdentity") or "")


def leads(pod: pykube.Pod, identity: str) -> bool:
    """Whether this identity is of a process in this pod."""
    return identity.rpartition("_")[0] == pod.name


class Observer:
    """Looks at the lease all the time.

    Attributes:
        holders: every holder in turn, with the moment it was first seen (monotonic) and how long before it the one
            before was last seen, seconds.
    """

    def __init__(self, kube: pykube.HTTPClient) -> None:
        self._kube = kube
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self.holders: list[tuple[str, float, float]] = []

    def __enter__(self) -> Observer:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join(10)

    def since(self, moment: float) -> float | None:
        """Return how long after a moment a new holder was seen, seconds; None when none was yet."""
        later = [seen for _, seen, _ in self.holders if seen > moment]
        return later[0] - moment if later else None

    @property
    def gaps(self) -> list[float]:
        """How long each hand-over took, at most."""
        return [gap for _, _, gap in self.holders[1:]]

    def _look(self) -> None:
        last, seen = "", time.monotonic()
        while not self._stop.wait(0.02):
            asked = time.monotonic()
            found = holder(self._kube)
            if found and found != last:
                self.holders.append((found, time.monotonic(), time.monotonic() - seen))
            if found:
                last, seen = found, asked
