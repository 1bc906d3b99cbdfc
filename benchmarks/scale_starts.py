"""How soon operator and facade work after their processes begin, with all that lives besides."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import httpx2
from accounts import OPERATOR, SYSTEM, Cluster, in_charge, until
from installation import Installation
from scale_usage import processes_of, started_at

FACADE: Final = f"/apis/apps/v1/namespaces/{SYSTEM}/deployments/driftstack-facade"
PODS: Final = f"/api/v1/namespaces/{SYSTEM}/pods?labelSelector=app.kubernetes.io/component=facade"


def starts(installation: Installation) -> tuple[float, float]:
    """Return the seconds from the begin of the process until an operator is in charge and a facade is ready."""
    cluster = Cluster(installation)
    with _as_many_as_before(cluster):
        return in_charge(installation, cluster), _ready(cluster)


def _ready(cluster: Cluster) -> float:
    cluster.merge(f"{FACADE}/scale", {"spec": {"replicas": 0}})
    until(lambda: not cluster.call("GET", PODS)["items"], 0.2)
    cluster.merge(f"{FACADE}/scale", {"spec": {"replicas": 1}})
    until(lambda: any(pod["status"].get("podIP") for pod in cluster.call("GET", PODS)["items"]), 0.05)
    (pod,) = cluster.call("GET", PODS)["items"]
    until(lambda: processes_of(pod["metadata"]["uid"]), 0.02)
    url = f"http://{pod['status']['podIP']}:8000/readyz"
    until(lambda: _answers(url), 0.02)
    (process, *_) = processes_of(pod["metadata"]["uid"])
    return time.clock_gettime(time.CLOCK_BOOTTIME) - started_at(process)


def _answers(url: str) -> bool:
    try:
        return httpx2.get(url, timeout=5, trust_env=False).status_code == 200
    except httpx2.TransportError:
        return False


@contextmanager
def _as_many_as_before(cluster: Cluster) -> Iterator[None]:
    replicas = {path: cluster.call("GET", path)["spec"]["replicas"] for path in (OPERATOR, FACADE)}
    try:
        yield
    finally:
        for path, number in replicas.items():
            cluster.merge(f"{path}/scale", {"spec": {"replicas": number}})
            until(lambda path=path, number=number: _running(cluster, path) == number, 0.2)


def _running(cluster: Cluster, deployment: str) -> int:
    return int(cluster.call("GET", deployment)["status"].get("readyReplicas", 0))
