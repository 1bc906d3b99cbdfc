"""Our kinds as pykube knows them: an independent client that sees what a kubectl user sees."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, TypeVar

import pykube
from pykube.objects import APIObject, NamespacedAPIObject

VERSION = "driftstack.dev/v1alpha1"
BROWSERS = "driftstack-browsers"
SYSTEM = "driftstack-system"
T = TypeVar("T")


class Account(APIObject):
    version, endpoint, kind = VERSION, "accounts", "Account"


class ApiKey(NamespacedAPIObject):
    version, endpoint, kind = VERSION, "apikeys", "ApiKey"


class BrowserSession(NamespacedAPIObject):
    version, endpoint, kind = VERSION, "browsersessions", "BrowserSession"

    @property
    def uid(self) -> str:
        return str(self.metadata["uid"])

    @property
    def status(self) -> dict[str, Any]:
        return dict(self.obj.get("status") or {})


class SessionRecord(NamespacedAPIObject):
    version, endpoint, kind = VERSION, "sessionrecords", "SessionRecord"

    @property
    def spec(self) -> dict[str, Any]:
        return dict(self.obj["spec"])


class CreateRequest(NamespacedAPIObject):
    version, endpoint, kind = VERSION, "createrequests", "CreateRequest"


class WebhookEndpoint(NamespacedAPIObject):
    version, endpoint, kind = VERSION, "webhookendpoints", "WebhookEndpoint"

    @property
    def ready(self) -> dict[str, Any]:
        """The condition Ready; empty before there is one."""
        conditions = (self.obj.get("status") or {}).get("conditions", [])
        return next((dict(each) for each in conditions if each["type"] == "Ready"), {})


class WebhookDelivery(NamespacedAPIObject):
    version, endpoint, kind = VERSION, "webhookdeliveries", "WebhookDelivery"

    @property
    def status(self) -> dict[str, Any]:
        return dict(self.obj.get("status") or {})


class BrowserPool(NamespacedAPIObject):
    version, endpoint, kind = VERSION, "browserpools", "BrowserPool"

    @property
    def spec(self) -> dict[str, Any]:
        return dict(self.obj["spec"])

    @property
    def status(self) -> dict[str, Any]:
        return dict(self.obj.get("status") or {})


def eventually(look: Callable[[], T | None], seconds: float, what: str) -> T:
    """Return the first truthy result of `look`, polled until the deadline."""
    deadline = time.monotonic() + seconds
    while True:
        found = look()
        if found:
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds:.0f} s: {what}")
        time.sleep(0.05)


def record_of(kube: pykube.HTTPClient, namespace: str, uid: str, seconds: float = 30) -> SessionRecord:
    """Return the record of an ended session, waiting for it."""
    records = SessionRecord.objects(kube, namespace=namespace)
    return eventually(lambda: records.get_or_none(name=uid), seconds, f"a record of session {uid}")


def session(namespace: str, name: str, **spec: Any) -> dict[str, Any]:
    """Return the manifest of a session."""
    return {
        "apiVersion": VERSION,
        "kind": "BrowserSession",
        "metadata": {"name": name, "namespace": namespace},
        "spec": spec,
    }


def apply_session(kube: pykube.HTTPClient, namespace: str, name: str, **spec: Any) -> BrowserSession:
    """Create a session as kubectl would, and return it."""
    created = BrowserSession(kube, session(namespace, name, **spec))
    created.create()
    return created


def change_account(kube: pykube.HTTPClient, name: str, **spec: Any) -> None:
    """Change an account's spec as kubectl would."""
    Account.objects(kube).get(name=name).patch({"spec": spec})


def phase(kube: pykube.HTTPClient, namespace: str, name: str) -> str | None:
    """Return the phase that kubectl shows, None once the session is gone."""
    found = BrowserSession.objects(kube, namespace=namespace).get_or_none(name=name)
    return None if found is None else found.status.get("phase", "creating")


def wait_ready(kube: pykube.HTTPClient, namespace: str, name: str, seconds: float = 30) -> BrowserSession:
    """Return the session once it is ready."""
    eventually(lambda: phase(kube, namespace, name) == "ready", seconds, f"{namespace}/{name} ready")
    return BrowserSession.objects(kube, namespace=namespace).get(name=name)


def browser_pod(kube: pykube.HTTPClient, uid: str) -> pykube.Pod | None:
    """Return the pod of a session, if there is one."""
    pods = pykube.Pod.objects(kube, namespace=BROWSERS).filter(selector={"driftstack.dev/session": uid})
    return next(iter(pods), None)


def pool_of(kube: pykube.HTTPClient, name: str = "default") -> BrowserPool:
    """Return a pool as it is now."""
    return BrowserPool.objects(kube, namespace=BROWSERS).get(name=name)


def warm_pods(kube: pykube.HTTPClient, pool: str = "default") -> list[pykube.Pod]:
    """Return a pool's pods that no session has and nobody has deleted."""
    selector = {"driftstack.dev/pool": pool, "driftstack.dev/state": "warm"}
    pods = pykube.Pod.objects(kube, namespace=BROWSERS).filter(selector=selector)
    return [pod for pod in pods if "deletionTimestamp" not in pod.metadata]


def keep_warm(kube: pykube.HTTPClient, replicas: int, pool: str = "default") -> None:
    """Have a pool keep so many warm pods, and wait until it says so and there are no others."""
    found = pool_of(kube, pool)
    if found.spec.get("replicas", 0) != replicas:
        found.patch({"spec": {"replicas": replicas}})
    eventually(lambda: is_warm(kube, replicas, pool), 90, f"pool {pool} has {replicas} warm pods")


def is_warm(kube: pykube.HTTPClient, replicas: int, pool: str = "default") -> bool:
    """Whether a pool has exactly so many warm pods, as it is now."""
    found = pool_of(kube, pool)
    known = found.status.get("observedGeneration", 0) == found.metadata["generation"]
    ready = [c for c in found.status.get("conditions", []) if c["type"] == "Ready" and c["status"] == "True"]
    return bool(known and ready) and len(warm_pods(kube, pool)) == replicas
