"""Parts that are there and don't answer, and how fast the others are meanwhile."""

from __future__ import annotations

import contextlib
import os
import signal
import statistics
import subprocess
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pykube

from tests.e2e.chaos.machine import Machine
from tests.e2e.conftest import Tenant
from tests.e2e.objects import BROWSERS, BrowserPool, apply_session, browser_pod, eventually

AT_ONCE = 16


@contextlib.contextmanager
def stopped(machine: Machine, pod_uids: Sequence[str]) -> Iterator[None]:
    """Stop every process of these pods: their ports accept, as the kernel does that, and nobody answers."""
    pids = [pid for uid in pod_uids for pid in machine.pids(uid)]
    assert pids
    _signal(pids, signal.SIGSTOP)
    try:
        yield
    finally:
        _signal(pids, signal.SIGCONT)


def stop_when_it_appears(machine: Machine, kube: pykube.HTTPClient, uid: str) -> str:
    """Stop a session's agent in its first moments; return the uid of its pod."""
    pod = eventually(lambda: browser_pod(kube, uid), 20, "the pod is made")
    pod_uid = str(pod.metadata["uid"])
    _signal(eventually(lambda: machine.pids(pod_uid), 30, "the agent's process begins"), signal.SIGSTOP)
    return pod_uid


def _signal(pids: Sequence[int], number: signal.Signals) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def times_to_ready(tenant: Tenant, count: int) -> list[float]:
    """Start sessions one after the other and end them; return how long each took to be ready, seconds."""
    took = []
    for _ in range(count):
        begun = time.monotonic()
        made = tenant.create()
        took.append(time.monotonic() - begun)
        assert tenant.api.delete(f"/v1/sessions/{made['id']}").status_code == 204
    return took


def figures(took: Sequence[float]) -> str:
    """Return middle and worst, for the report."""
    return f"p50 {statistics.median(took):.2f} s, worst {max(took):.2f} s"


@contextlib.contextmanager
def hesitating(machine: Machine, process: str, seconds: float, awake: float) -> Iterator[None]:
    """Let a process run only for moments, with pauses of so many seconds between: it answers, but late."""
    code = (
        "import os, signal, sys, time\n"
        "pid, pause, awake = int(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3])\n"
        "while True:\n"
        "    os.kill(pid, signal.SIGSTOP); time.sleep(pause)\n"
        "    os.kill(pid, signal.SIGCONT); time.sleep(awake)\n"
    )
    pid = machine.supervisor.pid(process)
    python = machine.checkout / ".venv/bin/python"
    helper = subprocess.Popen([python, "-c", code, str(pid), str(seconds), str(awake)])
    try:
        yield
    finally:
        helper.kill()
        helper.wait()
        os.kill(pid, signal.SIGCONT)


@contextlib.contextmanager
def full_disk(folder: Path) -> Iterator[None]:
    """Lay a file system without any room over a folder; what is below is back afterwards."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k,nr_inodes=2", "full", folder], check=True)
    try:
        with (folder / "full").open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(bytes(4096))
        yield
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


@contextlib.contextmanager
def no_room(kube: pykube.HTTPClient) -> Iterator[None]:
    """Have the pool ask for a node that nobody has: pods that are made now wait for ever."""
    pool = BrowserPool.objects(kube, namespace=BROWSERS).get(name="default")
    pool.patch({"spec": {"nodeSelector": {"driftstack.test/nowhere": "true"}}})
    try:
        yield
    finally:
        pool.patch({"spec": {"nodeSelector": {"driftstack.test/nowhere": None}}})


def create_many(kube: pykube.HTTPClient, namespace: str, count: int) -> list[str]:
    """Create sessions as kubectl would, many at once; return their uids."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        made = pool.map(lambda number: apply_session(kube, namespace, f"many-{number}"), range(count))
        return [session.uid for session in made]


def delete_all(kube: pykube.HTTPClient, namespace: str) -> None:
    """Delete all sessions of a namespace with one request."""
    answer = kube.delete(version="driftstack.dev/v1alpha1", namespace=namespace, url="browsersessions")
    answer.raise_for_status()


def pods_of(kube: pykube.HTTPClient, uids: Sequence[str]) -> list[dict[str, Any]]:
    """Return the pods of these sessions."""
    wanted = set(uids)
    pods = pykube.Pod.objects(kube, namespace=BROWSERS)
    return [pod.obj for pod in pods if pod.labels.get("driftstack.dev/session") in wanted]
