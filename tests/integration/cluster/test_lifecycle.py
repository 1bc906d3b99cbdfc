"""A node of its own (INSTANCE=7) from nothing to nothing, beside whatever runs here. Needs root."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from driftstack_cluster import cgroups, teardown
from driftstack_cluster.layout import Layout

pytestmark = [pytest.mark.cluster_lifecycle, pytest.mark.timeout(900)]

ROOT = Path(__file__).parents[3]
INSTANCE = 7
LAYOUT = Layout(INSTANCE, nodes=2)
PARTS = ("driftstack_cluster", "node", "manifests", "seccomp", "site")


def _run(checkout: Path, *argv: str, **options: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "INSTANCE": str(INSTANCE), "CLUSTER": "embedded", "YES": "0", **options}
    environment["PYTHONPATH"] = os.pathsep.join(
        str(checkout / folder) for folder in ("cluster", "common") if (checkout / folder).exists()
    )
    return subprocess.Popen(
        [sys.executable, "-m", "driftstack_cluster", *argv],
        env=environment,
        cwd=checkout,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def _finish(process: subprocess.Popen[str], code: int = 0, seconds: float = 300) -> str:
    output = process.communicate(timeout=seconds)[0]
    assert process.returncode == code, output
    return output


def _up(checkout: Path, code: int = 0, **options: str) -> str:
    return _finish(_run(checkout, "up", "--cluster-only", **options), code)


def _down(checkout: Path) -> str:
    return _finish(_run(checkout, "down"))


def _traces() -> set[str]:
    """Everything on this machine that a node may leave, but for what belongs to other instances."""
    found = {f"mount {path}" for path in teardown._mount_points()}
    found |= {f"link {name}" for name in os.listdir("/sys/class/net")}
    found |= {f"namespace {path.name}" for path in Path("/run/netns").glob("*")}
    found |= {f"group {path}" for root in cgroups.hierarchies() for path in root.glob("*") if path.is_dir()}
    for folder in ("/run", "/run/lock", "/run/containerd/s", "/var/lib", "/var/lib/driftstack", "/var/log"):
        found |= {f"file {path}" for path in Path(folder).glob("*")}
    found -= {f"file {path}" for path in _sockets_of_others()}
    found |= {f"route {line}" for line in _lines("ip", "route")}
    found |= {f"rule {line}" for line in _lines("iptables-save") if line.startswith("-A")}
    return {
        trace
        for trace in found
        if "driftstack" not in trace or f"driftstack{INSTANCE}" in trace or "node7" in trace
    }


def _sockets_of_others() -> set[str]:
    """Return the sockets of shims of other instances, whose pods may come and go meanwhile."""
    addresses = Path("/run").glob("driftstack*/*/containerd/io.containerd.runtime.v2.task/*/*/address")
    others = [path for path in addresses if not path.is_relative_to(LAYOUT.run)]
    found = set()
    for path in others:
        with contextlib.suppress(FileNotFoundError):
            found.add(path.read_text().strip().removeprefix("unix://"))
    return found


def _lines(*argv: str) -> list[str]:
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout.splitlines()


def _pids() -> dict[str, int]:
    records = (LAYOUT.run / "processes").glob("*.json")
    return {record.stem: json.loads(record.read_text())["pid"] for record in records}


@pytest.fixture
def other_checkout(tmp_path: Path) -> Path:
    """A second checkout, with just what a bare cluster needs."""
    target = tmp_path / "elsewhere"
    for part in PARTS:
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / "cluster" / part, target / "cluster" / part, ignore=ignored)
    (target / "common").symlink_to(ROOT / "common")
    return target


@pytest.fixture(autouse=True)
def _clean() -> Iterator[None]:
    if os.geteuid() != 0:
        pytest.fail("this ring needs root: it makes network namespaces and mounts")
    _down(ROOT)
    yield
    _down(ROOT)


def test_down_leaves_nothing() -> None:
    before = _traces()
    _up(ROOT, NODES="2")
    assert _traces() != before
    kubectl = json.loads((ROOT / ".driftstack" / f"instance-{INSTANCE}" / "cluster.json").read_text())["kubectl"]
    kubeconfig = ROOT / ".driftstack" / f"instance-{INSTANCE}" / "kubeconfig"
    nodes = _lines(kubectl, f"--kubeconfig={kubeconfig}", "get", "nodes", "--no-headers")
    assert [line.split()[:2] for line in nodes] == [["local", "Ready"], ["local-2", "Ready"]]

    _down(ROOT)

    assert teardown.remains(LAYOUT) == []
    assert _traces() - before == set()


def test_a_running_node_is_found_and_a_dead_process_started() -> None:
    _up(ROOT)
    started = time.monotonic()
    assert "started" not in _up(ROOT)
    assert time.monotonic() - started < 5
    before = _pids()

    os.kill(before["etcd"], signal.SIGKILL)

    assert "started etcd" in _up(ROOT)
    assert {name for name, pid in _pids().items() if pid != before[name]} == {"etcd"}


def test_a_second_node_comes_and_goes() -> None:
    _up(ROOT)
    assert "kubelet-2" in _up(ROOT, NODES="2")
    _up(ROOT, NODES="1")

    assert not [name for name in _pids() if name.endswith("-2")]


def test_another_checkout_takes_over_only_what_is_dead(other_checkout: Path) -> None:
    _up(ROOT)
    assert f"belongs to the checkout {ROOT}" in _up(other_checkout, code=1)

    for pid in _pids().values():
        os.kill(pid, signal.SIGKILL)

    assert f"taking over the node of {ROOT}" in _up(other_checkout)
    assert f"belongs to the checkout {other_checkout}" in _finish(_run(ROOT, "down"), 1)
    _down(other_checkout)


def test_two_at_once_both_succeed() -> None:
    first, second = _run(ROOT, "up", "--cluster-only"), _run(ROOT, "up", "--cluster-only")

    outputs = [_finish(first), _finish(second)]

    assert sum("waiting for it" in output for output in outputs) == 1


@pytest.mark.parametrize("seconds", [0.4, 0.7, 1.5, 3.0, 4.5])
def test_interrupted_anywhere_the_next_up_repairs(seconds: float) -> None:
    process = _run(ROOT, "up", "--cluster-only")
    try:
        process.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    # A signal that comes before our own handler, or after it, ends Python itself: shells call that 130 too.
    assert process.returncode in (0, 130, -signal.SIGINT)

    _up(ROOT)

    assert "started" not in _up(ROOT)
