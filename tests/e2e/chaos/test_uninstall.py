"""`helm uninstall` with live sessions: nothing hangs, data is kept and usable again, and one command removes it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator

import pykube
import pytest

from driftstack_cluster import settings
from tests.e2e.chaos import removals
from tests.e2e.chaos.report import Report
from tests.e2e.conftest import ROOT, Installation, Tenant
from tests.e2e.objects import (
    SYSTEM,
    BrowserSession,
    apply_session,
    eventually,
    record_of,
    session,
    wait_ready,
)

KINDS = (
    "namespaces,clusterroles,clusterrolebindings,crds,validatingadmissionpolicies,validatingadmissionpolicybindings,"
    "mutatingadmissionpolicies,mutatingadmissionpolicybindings,priorityclasses,apiservices"
)
NAMESPACED = "leases,secrets,configmaps,serviceaccounts,jobs,pods,services,deployments,roles,rolebindings"
KEY_RINGS = ["secret/driftstack-agent-key", "secret/driftstack-connect-key"]
"""Kept, so that a reinstallation knows the pods that it finds."""
CLUSTERS_OWN = ("driftstack:dns", "driftstack:network-policies")
"""Roles of the local cluster's own parts: they were there before."""

pytestmark = [pytest.mark.timeout(600)]


@pytest.fixture
def restored(kube: pykube.HTTPClient) -> Iterator[Callable[[], None]]:
    """Install again, at the latest after the test."""

    def restore() -> None:
        removals.make_up()
        eventually(lambda: removals.available(kube), 120, "operator and facade run")

    yield restore
    restore()


def uninstall(installation: Installation) -> str:
    """Uninstall as an administrator would; return what Helm and the hook said."""
    helm = json.loads((settings.load(ROOT).output / "cluster.json").read_text())["helm"]
    command = [helm, "uninstall", "driftstack", "-n", SYSTEM, "--kubeconfig", str(installation.kubeconfig)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False)
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    return said


def ours(installation: Installation) -> set[str]:
    """Return what there is of Driftstack, outside its data and its own namespace."""
    listed = installation.run_kubectl("get", KINDS, "-o", "name").stdout.split()
    found = {name for name in listed if "driftstack" in name or "/acct-" in name}
    return {name for name in found if not name.endswith(CLUSTERS_OWN)}


def left_in_system(installation: Installation) -> list[str]:
    """Return what is left in the release's namespace of what was not there before."""
    listed = installation.run_kubectl("get", NAMESPACED, "-n", SYSTEM, "-o", "name").stdout.split()
    kubernetes_own = ("configmap/kube-root-ca.crt", "serviceaccount/default")
    return sorted(name for name in listed if name not in kubernetes_own)


def test_uninstall_with_live_sessions(
    installation: Installation,
    account: Tenant,
    kube: pykube.HTTPClient,
    report: Report,
    restored: Callable[[], None],
) -> None:
    step = removals.populate(kube, installation, account)
    uids = {bs.uid for bs in BrowserSession.objects(kube, namespace=account.namespace)}
    assert len(uids) == 3
    clock = removals.Clock()
    said = uninstall(installation)
    report.add("helm uninstall with live sessions", clock.seconds, lost=_lost(kube, account, uids))
    step.join(30)
    assert _lost(kube, account, uids) == 0
    assert '\\"without_record\\":0' in said
    assert not list(BrowserSession.objects(kube, namespace=account.namespace))

    eventually(lambda: not _but_data(ours(installation)), 60, "nothing but data is left")
    eventually(lambda: left_in_system(installation) == KEY_RINGS, 60, "only key rings are left in its namespace")
    assert removals.condition(kube, account.name)["reason"] == "Uninstalled"
    with pytest.raises(pykube.exceptions.HTTPError, match="exceeded quota"):
        BrowserSession(kube, session(account.namespace, "nobody-runs-it")).create()

    clock = removals.Clock()
    restored()
    eventually(lambda: removals.condition(kube, account.name).get("status") == "True", 60, "Ready again")
    eventually(lambda: account.api.get("/v1/sessions").status_code == 200, 30, "its key is still good")
    report.add("installed again: kept accounts work", clock.seconds)
    shown = {item["id"].removeprefix("ses_") for item in account.api.get("/v1/sessions").json()["data"]}
    assert uids <= shown, "its history is still there"
    account.create()


@pytest.mark.usefixtures("only_long")
def test_uninstall_without_an_operator(
    installation: Installation,
    account: Tenant,
    kube: pykube.HTTPClient,
    report: Report,
    restored: Callable[[], None],
) -> None:
    apply_session(kube, account.namespace, "live")
    wait_ready(kube, account.namespace, "live")
    broken = {"spec": {"template": {"spec": {"containers": [{"name": "operator", "command": ["false"]}]}}}}
    words = ("patch", "deployment/driftstack-operator", "-n", SYSTEM, "-p", json.dumps(broken))
    assert installation.run_kubectl(*words).returncode == 0
    eventually(lambda: not removals.available(kube), 60, "the operator is broken")
    _no_operator_runs(installation, kube)
    clock = removals.Clock()
    said = uninstall(installation)
    took = clock.seconds
    report.add("helm uninstall without an operator", took)
    assert took < 120
    assert '\\"without_record\\":1' in said
    eventually(lambda: not _but_data(ours(installation)), 60, "nothing but data is left")
    assert not list(BrowserSession.objects(kube, namespace=account.namespace))

    clock = removals.Clock()
    removed = installation.run_kubectl(
        "delete", "namespaces,crd", "-l", "app.kubernetes.io/part-of=driftstack", "--timeout=100s"
    )
    assert removed.returncode == 0, removed.stderr
    report.add("data removed after uninstall", clock.seconds)
    eventually(lambda: ours(installation) == {f"namespace/{SYSTEM}"}, 20, "only the release's namespace is left")
    removed = installation.run_kubectl("delete", "namespace", SYSTEM, "--timeout=60s")
    assert removed.returncode == 0, removed.stderr
    assert ours(installation) == set()


def _no_operator_runs(installation: Installation, kube: pykube.HTTPClient) -> None:
    """Remove the operators that a careful roll-out keeps until new ones work."""
    installation.run_kubectl(
        "delete", "replicasets,pods", "-n", SYSTEM, "-l", "app.kubernetes.io/component=operator", "--wait=false"
    )

    def none() -> bool:
        pods = pykube.Pod.objects(kube, namespace=SYSTEM).filter(
            selector={"app.kubernetes.io/component": "operator"}
        )
        return not any(
            status.get("ready") for pod in pods for status in pod.obj["status"].get("containerStatuses", [])
        )

    eventually(none, 60, "no operator runs")


def _lost(kube: pykube.HTTPClient, account: Tenant, uids: set[str]) -> int:
    lost = 0
    for uid in uids:
        try:
            record_of(kube, account.namespace, uid, seconds=1)
        except AssertionError:
            lost += 1
    return lost


def _but_data(names: set[str]) -> set[str]:
    crds = ("customresourcedefinition.apiextensions.k8s.io/", "apiservice.apiregistration.k8s.io/")
    kept = (f"namespace/{SYSTEM}", "namespace/acct-", *crds)
    return {name for name in names if not name.startswith(kept)}
