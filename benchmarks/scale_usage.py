"""What every process of the cluster uses: seconds of CPU between two moments, memory at one."""

from __future__ import annotations

import os
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pss import total
from scale_fakes import Fakes, Site

from driftstack_cluster.processes import Supervisor
from driftstack_common.kube.client import LEASE, POD, KubeClient
from driftstack_common.names import SYSTEM_NAMESPACE

CONTROL_PLANE: Final = ("kube-apiserver", "etcd", "kube-controller-manager", "kube-scheduler")
NODE_PROCESSES: Final = ("kubelet", "network-policies", "kube-proxy", "containerd")
API_SERVER, ETCD, CONTROLLERS, SCHEDULER = CONTROL_PLANE
NODE_PARTS: Final = "node"
LEADER: Final = "operator"
STANDBY: Final = "standby"
FACADE: Final = "facade"
KWOK: Final = "kwok"
AGENTS: Final = "fake agents"
CLIENT: Final = "client"
OTHERS: Final = "others"
IDLE: Final = "idle"
_TICKS: Final = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Moment:
    """Readings of one moment.

    Attributes:
        at: seconds.
        cpu: seconds of CPU so far, by part.
        machine: seconds that all CPUs together were busy, and idle.
    """

    at: float
    cpu: dict[str, float]
    machine: tuple[float, float]


@dataclass(frozen=True)
class Usage:
    """What was used between two moments: cores, by part; what else the machine did, and what it had left."""

    seconds: float
    cores: dict[str, float]


def between(first: Moment, last: Moment) -> Usage:
    """Return what was used; a part that was started anew meanwhile is left out."""
    seconds = last.at - first.at
    spent = {name: used - first.cpu[name] for name, used in last.cpu.items() if name in first.cpu}
    cores = {name: used / seconds for name, used in spent.items() if used >= 0}
    busy, idle = ((after - before) / seconds for before, after in zip(first.machine, last.machine, strict=True))
    return Usage(seconds, {**cores, OTHERS: max(0.0, busy - sum(cores.values())), IDLE: idle})


class Meter:
    """Reads /proc; needs root.

    Args:
        site, fakes: whose processes to read.
        kube: tells which pods are operators, and which of them leads.
    """

    def __init__(self, site: Site, fakes: Fakes, kube: KubeClient) -> None:
        self._kube = kube
        supervisor = Supervisor(site.layout.run / "processes", site.layout.logs)
        self._fixed = {name: [supervisor.pid(name)] for name in CONTROL_PLANE}
        self._fixed |= {
            NODE_PARTS: [supervisor.pid(name) for name in NODE_PROCESSES],
            KWOK: [fakes.kwok],
            AGENTS: [fakes.agent],
            CLIENT: [os.getpid()],
        }
        self._pids = self._fixed

    async def find(self) -> None:
        """Find the processes of operators and facades again: they have been started anew, or another one leads."""
        lease = await self._kube.get(LEASE, SYSTEM_NAMESPACE, "driftstack-operator")
        leader = (lease["spec"].get("holderIdentity") or "").partition("_")[0]
        pids: dict[str, list[int]] = defaultdict(list)
        for pod in (await self._kube.list_objects(POD, SYSTEM_NAMESPACE))["items"]:
            meta = pod["metadata"]
            component = meta["labels"].get("app.kubernetes.io/component", "")
            if component in (LEADER, FACADE):
                part = STANDBY if component == LEADER and meta["name"] != leader else component
                pids[part] += processes_of(meta["uid"])
        self._pids = {**self._fixed, **pids}

    def read(self) -> Moment:
        """Return the present readings."""
        cpu = {name: sum(map(_cpu, pids)) for name, pids in self._pids.items()}
        return Moment(time.monotonic(), cpu, _machine())

    def memory(self, part: str) -> float:
        """Return the memory of a part's processes, MiB PSS."""
        return total(self._pids.get(part, []))


def processes_of(pod_uid: str) -> list[int]:
    """Return the processes of a pod on this machine, but for the one that holds its namespaces."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            inside = f"pod{pod_uid}" in (process / "cgroup").read_text()
            if inside and not (process / "cmdline").read_bytes().startswith(b"/pause"):
                found.append(int(process.name))
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


def started_at(pid: int) -> float:
    """Return when a process began, seconds of CLOCK_BOOTTIME."""
    return int(_fields(pid)[19]) / _TICKS


def _cpu(pid: int) -> float:
    try:
        fields = _fields(pid)
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    return (int(fields[11]) + int(fields[12])) / _TICKS


def _fields(pid: int) -> list[str]:
    """Return the fields of stat from the third on (the second may hold anything)."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def _machine() -> tuple[float, float]:
    numbers = [int(word) / _TICKS for word in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    idle = numbers[3] + numbers[4]
    return sum(numbers) - idle, idle
