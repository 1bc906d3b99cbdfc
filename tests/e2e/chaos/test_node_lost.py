"""A node that dies takes its sessions with it: errored within a minute, their slots free, and no other session."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pykube
import pytest

from driftstack_cluster import cgroups
from driftstack_cluster.layout import Layout
from tests.e2e.chaos.causes import Scene, cordoned, pod_of
from tests.e2e.chaos.machine import Machine
from tests.e2e.chaos.report import Report
from tests.e2e.conftest import Installation, Tenant
from tests.e2e.objects import eventually

SECOND = "local-2"


def _up(machine: Machine, nodes: int) -> None:
    """Have the cluster consist of so many nodes, with the images on each."""
    environment = {**os.environ, "INSTANCE": str(machine.layout.instance), "NODES": str(nodes)}
    command = [sys.executable, "-m", "driftstack_cluster", "up"]
    done = subprocess.run(
        command,
        cwd=machine.checkout,
        env=environment,
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@contextlib.contextmanager
def two_nodes(machine: Machine) -> Iterator[Machine]:
    """Have a second node for a while, whatever becomes of it."""
    _up(machine, 2)
    try:
        yield Machine(machine.checkout, Layout(machine.layout.instance, nodes=2))
    finally:
        _up(machine, machine.layout.nodes)


def kill(machine: Machine, number: int) -> None:
    """Kill a node's kubelet, its container runtime and everything that runs in its pods, as a power cut would."""
    for process in ("kubelet", "containerd"):
        machine.signal(f"{process}-{number}", signal.SIGKILL)
    for pid in cgroups.processes(machine.layout.machines[number - 1].cgroup):
        with contextlib.suppress(ProcessLookupError):  # its parent took it along
            os.kill(pid, signal.SIGKILL)


@pytest.mark.timeout(900)
def test_a_node_that_dies(
    installation: Installation,
    kube: pykube.HTTPClient,
    machine: Machine,
    account: Tenant,
    report: Report,
    *,
    long: bool,
) -> None:
    if not long:
        pytest.skip("a second node takes two minutes to come, die and go: `make chaos` does it")
    scene = Scene(installation, kube, account, report)
    with two_nodes(machine) as both:
        with cordoned(installation, SECOND):
            survivor = scene.ready("survivor")
        with cordoned(installation, "local"):
            uids = [scene.ready(f"lost-{number}") for number in range(2)]
        assert [_node_of(kube, uid) for uid in uids] == [SECOND, SECOND]
        for uid in uids:
            scene.expect("node lost", uid, "NodeLost")
        kill(both, 2)
        scene.check(others=1)
        assert account.get(f"ses_{survivor}")["status"] == "ready"
    if machine.layout.nodes == 1:
        eventually(lambda: SECOND not in _nodes(kube), 60, "the second node is gone")


def _node_of(kube: pykube.HTTPClient, uid: str) -> str:
    return str(pod_of(kube, uid).obj["spec"]["nodeName"])


def _nodes(kube: pykube.HTTPClient) -> list[str]:
    return [node.name for node in pykube.Node.objects(kube)]
