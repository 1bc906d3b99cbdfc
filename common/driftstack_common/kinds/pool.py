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


class Autoscale(Model, frozen=True, kw_only=True):
    """How many warm pods to keep by demand, instead of `replicas`; max is at least min."""

    min: int = 0
    max: int


class PoolSpec(Model, frozen=True, kw_only=True):
    """The template of browser pods, cold ones included.

    Attributes:
        replicas: warm pods to keep; 0 keeps none (every start is cold).
        autoscale: keeps as many as the recent creates need instead.
        max_age_seconds: a warm pod that waits longer is replaced.
        selectable: sessions and accounts' archetypes may name this pool.
        shared_memory: size of /dev/shm, a Kubernetes quantity.
        user_namespace: run pods in a user namespace of their own (`hostUsers: false`), where nodes can.
    """

    replicas: int = 0
    autoscale: Autoscale | None = None
    max_age_seconds: int = 14_400
    selectable: bool = False
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
    """What runs; selector serves the scale subresource.

    Attributes:
        replicas: warm pods, starting ones included; ready_replicas and starting_replicas are their parts.
        desired_replicas: how many are kept.
        claimed_replicas: pods made from this template that serve sessions.
        hits, misses: sessions that a warm pod served, and that a pod was started for, since the pool was made.
        hit_rate: hits among both, for people, e.g. `97%`.
    """

    observed_generation: int = 0
    replicas: int = 0
    desired_replicas: int = 0
    ready_replicas: int = 0
    starting_replicas: int = 0
    claimed_replicas: int = 0
    hits: int = 0
    misses: int = 0
    hit_rate: str = ""
    selector: str = ""
    conditions: list[Condition] = []


class Pool(Resource, frozen=True, kw_only=True):
    """A BrowserPool object, in the browser namespace."""

    KIND: ClassVar[Kind] = Kind("BrowserPool", "browserpools")
    spec: PoolSpec
    status: PoolStatus = PoolStatus()
