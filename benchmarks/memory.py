"""PSS of idle browser pods, alone and ten side by side, and of the agent among them. Needs root on the node."""

from __future__ import annotations

import os
import statistics
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from installation import Installation, open_installation

SETTLE_SECONDS = 5


@dataclass(frozen=True)
class Usage:
    """PSS of one pod, MiB."""

    agent: float
    pod: float


def usage(pod_uid: str) -> Usage:
    """Add up the processes in the control group of a pod."""
    agent = total = 0.0
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if f"pod{pod_uid}" not in (process / "cgroup").read_text():
                continue
            pss, command = _pss(process), (process / "cmdline").read_bytes()
        except (FileNotFoundError, ProcessLookupError):
            continue
        total += pss
        agent += pss if b"driftstack_agent" in command else 0
    return Usage(agent, total)


def _pss(process: Path) -> float:
    for line in (process / "smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1024
    return 0.0


def measure(installation: Installation, count: int) -> None:
    """Start so many sessions, let them settle, print their memory, end them."""
    sessions = [installation.call("POST", "/v1/sessions", {}, Prefer="wait=30")["id"] for _ in range(count)]
    time.sleep(SETTLE_SECONDS)
    query = ("get", "pods", "-n", "driftstack-browsers", "-o", "jsonpath={.items[*].metadata.uid}")
    found = [usage(uid) for uid in installation.run_kubectl(*query).split()]
    agent = statistics.median(each.agent for each in found)
    pod = statistics.median(each.pod for each in found)
    print(f"{count:>2} pods: agent {agent:6.1f} MiB PSS (bound 30), whole pod {pod:6.1f} MiB PSS (medians)")
    for session in sessions:
        installation.call("DELETE", f"/v1/sessions/{session}")


def main() -> None:
    """One pod, then ten; the account's cap must allow ten."""
    if os.geteuid() != 0:
        sys.exit("PSS of other users' processes is root's to read: run this as root on the node")
    with open_installation() as installation:
        cap = '{"spec":{"overrides":{"concurrentSessions":10}}}'
        installation.run_kubectl("patch", "account", "demo", "--type=merge", "-p", cap)
        for count in (1, 10):
            installation.wait_for_no_pods()
            measure(installation, count)


if __name__ == "__main__":
    main()
