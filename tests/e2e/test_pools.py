"""Warm pools on a real cluster: filled, claimed by many at once, scaled, renewed and deleted."""

from __future__ import annotations

import base64
import io
import json
import secrets
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pykube
import pytest
from PIL import Image

from tests.e2e.conftest import Installation, Tenant
from tests.e2e.objects import (
    BROWSERS,
    VERSION,
    BrowserPool,
    BrowserSession,
    apply_session,
    browser_pod,
    eventually,
    is_warm,
    keep_warm,
    pool_of,
    record_of,
    wait_ready,
    warm_pods,
)

MakePool = Callable[..., str]


@pytest.fixture
def make_pool(kube: pykube.HTTPClient) -> Iterator[MakePool]:
    """Make pools of one test, that look like the installation's; they go with it."""
    made: list[str] = []

    def make(**spec: Any) -> str:
        name = f"e2e-{secrets.token_hex(4)}"
        template = {**pool_of(kube).spec, "replicas": 0, "selectable": True, **spec}
        meta = {"name": name, "namespace": BROWSERS}
        body = {"apiVersion": VERSION, "kind": "BrowserPool", "metadata": meta, "spec": template}
        BrowserPool(kube, body).create()
        made.append(name)
        return name

    yield make
    for name in made:
        found = BrowserPool.objects(kube, namespace=BROWSERS).get_or_none(name=name)
        if found is not None:
            found.delete()


def create(kube: pykube.HTTPClient, account: Tenant, pool: str, count: int) -> list[BrowserSession]:
    """Create sessions of a pool at once, and return them once they are ready."""

    def one(number: int) -> BrowserSession:
        name = f"{pool}-{number}-{secrets.token_hex(2)}"
        apply_session(kube, account.namespace, name, pool=pool)
        return wait_ready(kube, account.namespace, name, 60)

    with ThreadPoolExecutor(max(1, count)) as threads:
        return list(threads.map(one, range(count)))


def hits(sessions: list[BrowserSession]) -> list[str]:
    return sorted(session.status["pool"] for session in sessions)


def pod_names(sessions: list[BrowserSession]) -> set[str]:
    return {session.status["browser"]["pod"] for session in sessions}


def test_the_installations_own_pool_serves_rest(kube: pykube.HTTPClient, account: Tenant) -> None:
    before = pool_of(kube).spec.get("replicas", 0)
    keep_warm(kube, 1)
    session = account.create()
    uid = session["id"].removeprefix("ses_")
    pod = browser_pod(kube, uid)
    assert pod is not None
    assert pod.name.startswith("warm-"), "a pool's pod keeps its name"
    assert pod.labels["driftstack.dev/state"] == "claimed"
    assert not pod.metadata.get("ownerReferences")
    answer = account.api.post(f"/v1/sessions/{session['id']}/navigate", json={"url": "about:blank"})
    assert answer.status_code == 200, answer.text
    assert account.api.delete(f"/v1/sessions/{session['id']}").status_code == 204
    record_of(kube, account.namespace, uid)
    pool_of(kube).patch({"spec": {"replicas": before}})


def test_each_of_many_at_once_has_a_pod_of_its_own(
    kube: pykube.HTTPClient, account: Tenant, make_pool: MakePool
) -> None:
    pool = make_pool(replicas=3)
    keep_warm(kube, 3, pool)
    warm = {pod.name for pod in warm_pods(kube, pool)}
    sessions = create(kube, account, pool, 3)
    assert hits(sessions) == ["hit"] * 3
    assert pod_names(sessions) == warm, "every pod has one session"
    eventually(lambda: is_warm(kube, 3, pool), 90, "the pool is full again")
    assert pool_of(kube, pool).status["selector"] == f"driftstack.dev/pool={pool},driftstack.dev/state=warm"


def test_a_burst_beyond_the_pool_is_hits_and_cold_starts(
    kube: pykube.HTTPClient, account: Tenant, make_pool: MakePool
) -> None:
    pool = make_pool(replicas=1)
    keep_warm(kube, 1, pool)
    sessions = create(kube, account, pool, 3)
    assert "hit" in hits(sessions)
    assert "miss" in hits(sessions)
    assert len(pod_names(sessions)) == 3

    eventually(lambda: pool_of(kube, pool).status.get("claimedReplicas") == 3, 60, "the pool counts them")


def test_per_session_values_reach_a_warm_browser(
    kube: pykube.HTTPClient, installation: Installation, account: Tenant, make_pool: MakePool
) -> None:
    pool = make_pool(replicas=1)
    keep_warm(kube, 1, pool)
    apply_session(kube, account.namespace, "phone", pool=pool, archetype="android_phone", maxDurationSeconds=600)
    session = wait_ready(kube, account.namespace, "phone", 60)
    assert session.status["pool"] == "hit"
    identifier = f"ses_{session.uid}"
    account.api.post(f"/v1/sessions/{identifier}/navigate", json={"url": "about:blank"})
    captured = account.api.post(f"/v1/sessions/{identifier}/capture", json={"kind": "screenshot"}).json()
    picture = Image.open(io.BytesIO(base64.b64decode(captured["data"])))
    assert picture.width == 1082, "412 points at a ratio of 2.625"
    pod = browser_pod(kube, session.uid)
    assert pod is not None
    assert 600 < pod.obj["spec"]["activeDeadlineSeconds"] < 1200, "counted from the pod's start"


def test_scale(kube: pykube.HTTPClient, installation: Installation, make_pool: MakePool) -> None:
    pool = make_pool()
    for replicas in (2, 0):
        words = ("scale", f"browserpool/{pool}", "-n", BROWSERS, f"--replicas={replicas}")
        done = installation.run_kubectl(*words)
        assert done.returncode == 0, done.stderr
        eventually(lambda replicas=replicas: is_warm(kube, replicas, pool), 90, f"{replicas} warm pods")
        raw = f"/apis/driftstack.dev/v1alpha1/namespaces/{BROWSERS}/browserpools/{pool}/scale"
        scale = json.loads(installation.run_kubectl("get", "--raw", raw).stdout)
        assert scale["status"]["replicas"] == replicas
        assert scale["status"]["selector"]


def test_outdated_pods_are_replaced(kube: pykube.HTTPClient, make_pool: MakePool) -> None:
    pool = make_pool(replicas=2)
    keep_warm(kube, 2, pool)
    old = {pod.name for pod in warm_pods(kube, pool)}
    pool_of(kube, pool).patch({"spec": {"sharedMemory": "192Mi"}})

    def renewed() -> bool:
        return is_warm(kube, 2, pool) and not old & {pod.name for pod in warm_pods(kube, pool)}

    eventually(renewed, 120, "new pods in place of the old")


def test_deleting_a_pool_spares_live_sessions(
    kube: pykube.HTTPClient, account: Tenant, make_pool: MakePool
) -> None:
    pool = make_pool(replicas=2)
    keep_warm(kube, 2, pool)
    (session,) = create(kube, account, pool, 1)
    pool_of(kube, pool).delete()
    eventually(lambda: not warm_pods(kube, pool), 60, "its warm pods go")
    state = account.api.get(f"/v1/sessions/ses_{session.uid}/state")
    assert state.status_code == 200, state.text
    assert session.status["pool"] == "hit"


def test_a_pool_that_cannot_start_says_why(kube: pykube.HTTPClient, make_pool: MakePool) -> None:
    pool = make_pool(replicas=2, nodeSelector={"driftstack.test/nowhere": "true"})

    def told() -> bool:
        conditions = pool_of(kube, pool).status.get("conditions", [])
        return any(c["reason"] == "Unschedulable" and c["message"] for c in conditions)

    eventually(told, 60, "the pool is not Ready, Unschedulable")
    assert len(warm_pods(kube, pool)) == 2, "no more than it wants, and no others in their place"


def test_warm_pods_give_way_to_a_session_that_no_node_has_room_for(
    kube: pykube.HTTPClient, installation: Installation, account: Tenant, make_pool: MakePool
) -> None:
    large = {"requests": {"cpu": "250m", "memory": "256Mi"}, "limits": pool_of(kube).spec["resources"]["limits"]}
    greedy = make_pool(replicas=200, resources=large)  # more than there is room for anywhere

    def full() -> bool:
        told = {c["reason"] for c in pool_of(kube, greedy).status.get("conditions", [])}
        return "Unschedulable" in told and all(not _starts(pod) for pod in warm_pods(kube, greedy))

    eventually(full, 120, "a pool that fills the nodes")
    held = sum(_runs(pod) for pod in warm_pods(kube, greedy))
    assert held, "there was no room for a single one"
    (session,) = create(kube, account, make_pool(resources=large), 1)
    assert session.status["pool"] == "miss"
    assert sum(_runs(pod) for pod in warm_pods(kube, greedy)) < held

    def told() -> bool:
        return any(c["reason"] == "GaveWay" for c in pool_of(kube, greedy).status["conditions"])

    eventually(told, 30, "the pool says that it gave way")
    # Told at the pool whose pod had a node, which may be the installation's own.
    whose = f"gave way to session {account.namespace}/{session.name}"
    events = ("get", "events", "-n", BROWSERS, "--field-selector=reason=GaveWay")
    eventually(lambda: whose in installation.run_kubectl(*events).stdout, 10, "an Event says so")
    session.delete()
    eventually(lambda: sum(_runs(pod) for pod in warm_pods(kube, greedy)) >= held, 90, "it comes back")


def _runs(pod: pykube.Pod) -> bool:
    return bool(pod.obj["status"]["phase"] == "Running")


def _starts(pod: pykube.Pod) -> bool:
    """Whether a node has the pod, but it does not run yet."""
    return not _runs(pod) and bool(pod.obj["spec"].get("nodeName"))


def test_pools_are_chosen_among_those_that_are_selectable(
    kube: pykube.HTTPClient, account: Tenant, make_pool: MakePool
) -> None:
    closed = make_pool(selectable=False)
    for name, pool in (("one", closed), ("two", "no-such-pool")):
        session = apply_session(kube, account.namespace, name, pool=pool)
        assert record_of(kube, account.namespace, session.uid).spec["reason"] == "UnknownPool"


def test_bounds_of_autoscaling_are_checked(installation: Installation, kube: pykube.HTTPClient) -> None:
    spec = {**pool_of(kube).spec, "autoscale": {"min": 3, "max": 2}}
    meta = {"name": "e2e-refused", "namespace": BROWSERS}
    body = {"apiVersion": VERSION, "kind": "BrowserPool", "metadata": meta, "spec": spec}
    refused = installation.run_kubectl("create", "-f", "-", stdin=json.dumps(body))
    assert refused.returncode != 0
    assert "autoscale.min is more than autoscale.max" in refused.stderr
