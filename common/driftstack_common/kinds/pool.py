"""BrowserPool: how browser pods look, and how many wait warm."""

from __future__ import annotations

from typing import Any, ClassVar

from driftstack_common.kinds.meta import Condition, Kind, Model, Resource


class ResourceAmounts(Model, frozen=True, kw_only=True):
    """Kubernetes quantities of one pod."""

    cpu: str | None = None
    memory: str | None = None


class PodResources(Model, frozen=True, kw_only=True):
    """Requests and limits of one pod."""

    requests: ResourceAmounts = ResourceAmounts()
    limits: ResourceAmounts = ResourceAmounts()


class PoolSpec(Model, frozen=True, kw_only=True):
    """The template of browser pods, cold ones included.

    Attributes:
        replicas: warm pods to keep; 0 keeps none (every start is cold).
        shared_memory: size of /dev/shm, a Kubernetes quantity.
        user_namespace: run pods in a user namespace of their own (`hostUsers: false`), where nodes can.
    """

    replicas: int = 0
    image: str
    resources: PodResources = PodResources()
    shared_memory: str = "256Mi"
    runtime_class_name: str | None = None
    seccomp_profile: str = "driftstack/chromium.json"
    user_namespace: bool = False
    nameservers: list[str] = []
    node_selector: dict[str, str] = {}
    tolerations: list[dict[str, Any]] = []


class PoolStatus(Model, frozen=True, kw_only=True):
    """What runs; selector serves the scale subresource."""

    replicas: int = 0
    ready_replicas: int = 0
    selector: str = ""
    conditions: list[Condition] = []


class Pool(Resource, frozen=True, kw_only=True):
    """A BrowserPool object, in the browser namespace."""

    KIND: ClassVar[Kind] = Kind("BrowserPool", "browserpools")
    spec: PoolSpec
    status: PoolStatus = PoolStatus()
