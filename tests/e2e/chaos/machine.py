"""The embedded node as the one who breaks it sees it: its processes, its network, what runs in its pods."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from driftstack_cluster.layout import Layout
from driftstack_cluster.processes import Supervisor

BROWSER = b"--user-data-dir"
"""In the command line of Chromium's first process."""
AGENT = b"driftstack_agent"


@dataclass(frozen=True)
class Machine:
    """One embedded cluster.

    Attributes:
        checkout: root of the repository that it was made from.
        instance: its number.
    """

    checkout: Path
    layout: Layout

    @property
    def supervisor(self) -> Supervisor:
        """Finds the node's processes: etcd, kube-apiserver, kube-controller-manager, kubelet, and so on."""
        return Supervisor(self.layout.run / "processes", self.layout.logs)

    def signal(self, process: str, number: signal.Signals) -> None:
        """Send a signal to one of the node's processes."""
        os.kill(self.supervisor.pid(process), number)

    @contextlib.contextmanager
    def frozen(self, process: str) -> Iterator[None]:
        """Stop one of the node's processes for a while, as a machine that hangs would."""
        self.signal(process, signal.SIGSTOP)
        try:
            yield
        finally:
            self.signal(process, signal.SIGCONT)

    @contextlib.contextmanager
    def halting(self, process: str, seconds: float) -> Iterator[None]:
        """Have one of the node's processes work for a tenth of the time only, and be stopped so long in between."""
        over = threading.Event()

        def halt() -> None:
            while not over.is_set():
                with self.frozen(process):
                    over.wait(seconds)
                over.wait(seconds / 9)

        thread = threading.Thread(target=halt, name=f"halting {process}")
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def repair(self) -> None:
        """Start what is not running, as `make up` does (seconds)."""
        command = [self.checkout / ".venv/bin/python", "-m", "driftstack_cluster", "up", "--cluster-only"]
        environment = {**os.environ, "INSTANCE": str(self.layout.instance), "NODES": str(self.layout.nodes)}
        subprocess.run(command, cwd=self.checkout, env=environment, check=True, capture_output=True, timeout=300)

    def inside(self, *words: str, node: int = 1) -> str:
        """Run a command in a node's network namespace; return its output."""
        namespace = self.layout.machines[node - 1].namespace
        command = ["nsenter", f"--net=/run/netns/{namespace}", "--", *words]
        return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout

    @contextlib.contextmanager
    def rule(self, chain: str, *words: str) -> Iterator[None]:
        """Have an iptables rule at the head of a chain of the node's network namespace for a while."""
        self.inside("iptables", "-w", "-I", chain, *words)
        try:
            yield
        finally:
            self.inside("iptables", "-w", "-D", chain, *words)

    def kill(self, pod_uid: str, number: signal.Signals) -> None:
        """Send a signal to the first process of a pod's container."""
        os.kill(self.pids(pod_uid)[0], number)

    @staticmethod
    def pids(pod_uid: str, word: bytes = b"") -> list[int]:
        """Return the host's ids of a pod's processes, oldest first, without the pause container's.

        Args:
            word: only those whose command line has it, e.g. BROWSER.
        """
        mine = [path for path in Path("/proc").iterdir() if path.name.isdigit() and _belongs(path, pod_uid)]
        found = sorted((int(path.name), _command(path)) for path in mine)
        return [pid for pid, command in found if command and not command.startswith(b"/pause") and word in command]


def _command(process: Path) -> bytes:
    try:
        return (process / "cmdline").read_bytes()
    except OSError:  # it has just ended
        return b""


def _belongs(process: Path, pod_uid: str) -> bool:
    try:
        return pod_uid in (process / "cgroup").read_text()
    except OSError:  # it has just ended
        return False
