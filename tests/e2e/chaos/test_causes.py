"""Whatever ends a session: errored within a minute, with the true reason, an Event and the agent's last lines."""

from __future__ import annotations

import os
import signal
import time

import httpx2
import pykube
import pytest

from tests.e2e.chaos.causes import Scene, bind, cordoned, evict, pod_of, pool
from tests.e2e.chaos.machine import AGENT, BROWSER, Machine
from tests.e2e.chaos.report import Report
from tests.e2e.conftest import Installation, Tenant
from tests.e2e.objects import BROWSERS, eventually

SITE = "http://demo.driftstack.test"
RENDERER = b"--type=renderer"

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def scene(installation: Installation, kube: pykube.HTTPClient, account: Tenant, report: Report) -> Scene:
    return Scene(installation, kube, account, report)


def test_what_ends_a_running_session(
    installation: Installation, kube: pykube.HTTPClient, machine: Machine, scene: Scene, account: Tenant
) -> None:
    names = ("browser", "agent", "terminated", "deleted", "forced", "evicted")
    uids = {name: scene.ready(name) for name in names}
    pods = {name: pod_of(kube, uid) for name, uid in uids.items()}
    for uid in uids.values():
        step = account.api.post(f"/v1/sessions/ses_{uid}/navigate", json={"url": f"{SITE}/?token=secret"})
        assert step.status_code == 200, step.text

    scene.expect("Chromium killed", uids["browser"], "BrowserCrashed", ran=True)
    os.kill(machine.pids(pods["browser"].metadata["uid"], BROWSER)[0], signal.SIGKILL)
    scene.expect("agent killed", uids["agent"], "PodFailed", ran=True)
    os.kill(machine.pids(pods["agent"].metadata["uid"], AGENT)[0], signal.SIGKILL)
    scene.expect("agent sent SIGTERM", uids["terminated"], "Terminated", ran=True)
    os.kill(machine.pids(pods["terminated"].metadata["uid"], AGENT)[0], signal.SIGTERM)
    scene.expect("pod deleted by a person", uids["deleted"], "PodDeleted", ran=True)
    pods["deleted"].delete()
    scene.expect("pod deleted by force", uids["forced"], "PodDeleted")
    installation.run_kubectl("delete", "pod", "-n", BROWSERS, pods["forced"].name, "--force", "--grace-period=0")
    scene.expect("pod evicted by the API", uids["evicted"], "Evicted", ran=True)
    evict(installation, [pods["evicted"].name])

    scene.check()
    step = account.api.post(f"/v1/sessions/ses_{uids['browser']}/navigate", json={"url": "about:blank"})
    assert step.status_code == 410
    shown = installation.run_kubectl("get", "driftstack", "-n", account.namespace).stdout
    (line,) = [line for line in shown.splitlines() if uids["agent"] in line]
    assert "PodFailed" in line
    assert "exit code 137" in line
    described = installation.run_kubectl("describe", "bsr", uids["browser"], "-n", account.namespace).stdout
    assert "Chromium was ended by SIGKILL" in described
    assert f'"event":"claimed","session":"{uids["browser"]}"' in described
    assert "Warning  BrowserCrashed" in described


def test_what_keeps_a_session_from_starting(
    installation: Installation, kube: pykube.HTTPClient, machine: Machine, scene: Scene, *, long: bool
) -> None:
    with pool(kube, image="driftstack.local/agent:missing"):
        uid = scene.start("no-image")
        scene.expect("image missing", uid, "ImageUnavailable")
        pod_of(kube, uid)
    with pool(kube, resources={"requests": {"memory": "900Gi"}, "limits": {"memory": "900Gi"}}):
        uid = scene.start("too-large")
        scene.expect("no node has the memory", uid, "Unschedulable")
        pod_of(kube, uid)
        refused = scene.start("refused")
        bind(installation, pod_of(kube, refused).name, "local")
        scene.expect("kubelet has no room after all", refused, "Unschedulable")
    with pool(kube, nodeSelector={"driftstack.dev/nowhere": "true"}):
        uid = scene.start("no-node")
        scene.expect("no node may take it", uid, "Unschedulable")
        pod_of(kube, uid)
    with pool(kube, seccompProfile="driftstack/missing.json"):
        uid = scene.start("no-profile")
        scene.expect("seccomp profile missing", uid, "StartFailed")
        pod_of(kube, uid)
    if long:  # the others take half a minute, this one a whole
        uid = _start_frozen(kube, machine, scene)
        scene.expect("agent never answers", uid, "StartTimeout", within=65)
    scene.check()


def _start_frozen(kube: pykube.HTTPClient, machine: Machine, scene: Scene) -> str:
    """Start a session whose agent is stopped as soon as it is there, before it can take the session."""
    uid = scene.start("frozen")
    pod = pod_of(kube, uid)
    deadline = time.monotonic() + 20
    while not (agents := machine.pids(pod.metadata["uid"], AGENT)):
        assert time.monotonic() < deadline, "no agent within 20 s"
    os.kill(agents[0], signal.SIGSTOP)
    return uid


def test_memory_used_up_by_a_page(scene: Scene, account: Tenant) -> None:
    uid = scene.ready("hungry")
    scene.expect("memory used up by a page", uid, "OutOfMemory", ran=True)
    step = account.api.post(f"/v1/sessions/ses_{uid}/navigate", json={"url": f"{SITE}/memory?mib=8192"})
    assert step.status_code in (410, 502), step.text
    scene.check()


def test_a_killed_renderer_costs_a_step_and_no_session(
    kube: pykube.HTTPClient, machine: Machine, scene: Scene, account: Tenant, report: Report
) -> None:
    uid = scene.ready("renderer")
    path = f"/v1/sessions/ses_{uid}"
    assert account.api.post(f"{path}/navigate", json={"url": f"{SITE}/"}).status_code == 200
    began = time.monotonic()
    for pid in machine.pids(pod_of(kube, uid).metadata["uid"], RENDERER):
        os.kill(pid, signal.SIGKILL)
    eventually(lambda: _loads(account.api, path), 10, "the session's page is replaced")
    report.add("renderer killed", time.monotonic() - began)
    assert account.get(f"ses_{uid}")["status"] == "ready"
    assert account.api.post(f"{path}/navigate", json={"url": "chrome://crash"}).status_code == 400
    assert account.api.delete(path).status_code == 204


def _loads(api: httpx2.Client, path: str) -> bool:
    return api.post(f"{path}/navigate", json={"url": f"{SITE}/second.html"}).status_code == 200


def test_a_drained_node(installation: Installation, kube: pykube.HTTPClient, scene: Scene) -> None:
    uid = scene.ready("drained")
    node = str(pod_of(kube, uid).obj["spec"]["nodeName"])
    with cordoned(installation, node):
        scene.expect("node drained", uid, "Evicted", ran=True)
        drained = installation.run_kubectl(
            "drain",
            node,
            "--pod-selector=app.kubernetes.io/name=driftstack-browser",
            "--force",
            "--delete-emptydir-data",
            "--timeout=60s",
        )
        assert drained.returncode == 0, drained.stderr
        scene.check()
