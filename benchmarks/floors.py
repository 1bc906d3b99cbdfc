"""What figures are ratios of: a bare custom resource and a pod that sleeps, by the client that makes sessions."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

from installation import BROWSERS
from sessions import until

from driftstack_common.kinds import Pool
from driftstack_common.kinds.meta import Kind
from driftstack_common.kube.client import POD, Body, KubeClient
from driftstack_common.kube.errors import AlreadyExists, KubeError, NotFound
from driftstack_common.names import DEFAULT_POOL

GROUP: Final = "benchmark.driftstack.dev"
BARE: Final = Kind("Bare", "bares", group=GROUP, version="v1")
NAMESPACE: Final = "default"
_CRD: Final = Kind(
    "CustomResourceDefinition",
    "customresourcedefinitions",
    group="apiextensions.k8s.io",
    version="v1",
    namespaced=False,
)


@asynccontextmanager
async def bare_resources(kube: KubeClient) -> AsyncIterator[Callable[[], Awaitable[float]]]:
    """Make a kind that nobody watches; yield what creates one object of it and returns the seconds that took."""
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    version = {"name": BARE.version, "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    names = {"kind": BARE.name, "plural": BARE.plural, "singular": "bare", "listKind": "BareList"}
    name = f"{BARE.plural}.{GROUP}"
    spec = {"group": GROUP, "scope": "Namespaced", "names": names, "versions": [version]}
    crd: Body = {"apiVersion": _CRD.api_version, "kind": _CRD.name, "metadata": {"name": name}, "spec": spec}

    async def create() -> float:
        body = {"apiVersion": BARE.api_version, "kind": BARE.name, "metadata": {"generateName": "bare-"}}
        sent = time.perf_counter()
        await kube.create(BARE, NAMESPACE, body)
        return time.perf_counter() - sent

    async def served() -> bool:
        try:
            await create()
        except KubeError:
            return False
        return True

    with suppress(AlreadyExists):  # a run that was killed
        await kube.create(_CRD, None, crd)
    try:
        await until(served, "the API server does not serve the benchmark's own kind")
        yield create
    finally:
        await kube.delete(_CRD, None, name)


async def browser_image(kube: KubeClient) -> str:
    """Return the image of the default pool."""
    pool = await kube.get(Pool.KIND, BROWSERS, DEFAULT_POOL)
    return str(pool["spec"]["image"])


async def sleeping_pod(kube: KubeClient, image: str, *, volume: bool) -> float:
    """Return the seconds from the create of a pod that sleeps until a watch shows it Running; delete it again."""
    name = f"bench-{time.time_ns()}"
    started = time.perf_counter()
    pod = await kube.create(POD, BROWSERS, _sleeping(image, name, volume=volume))
    version = pod["metadata"]["resourceVersion"]
    async for event in kube.watch(POD, BROWSERS, version, fieldSelector=f"metadata.name={name}"):
        if _running(event["object"]):
            break
    elapsed = time.perf_counter() - started
    await kube.delete(POD, BROWSERS, name)
    await until(lambda: _gone(kube, name), f"pod {name} does not go")
    return elapsed


def _sleeping(image: str, name: str, *, volume: bool) -> Body:
    context = {
        "runAsNonRoot": True,
        "runAsUser": 1000,
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    sleep = ["python3", "-c", "import time; time.sleep(3600)"]  # the image has no shell
    container: dict[str, Any] = {"name": "c", "image": image, "command": sleep, "securityContext": context}
    spec: Body = {
        "containers": [container],
        "terminationGracePeriodSeconds": 0,
        "automountServiceAccountToken": False,
    }
    if volume:
        container["volumeMounts"] = [{"name": "tmp", "mountPath": "/tmp"}]  # noqa: S108 - a path in the pod
        spec["volumes"] = [{"name": "tmp", "emptyDir": {}}]
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": BROWSERS}, "spec": spec}


def _running(pod: Body) -> bool:
    states = pod.get("status", {}).get("containerStatuses", [])
    return any("running" in status["state"] for status in states)


async def _gone(kube: KubeClient, name: str) -> bool:
    try:
        await kube.get(POD, BROWSERS, name)
    except NotFound:
        return True
    return False
