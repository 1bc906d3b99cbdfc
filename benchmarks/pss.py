"""Proportional set sizes of processes, MiB: what each takes of the machine, shared pages by their share."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Final

PROC: Final = Path("/proc")


def pss(pid: int) -> float:
    """Return one process's; 0 for one that has ended. Other users' processes are root's to read."""
    try:
        rollup = (PROC / str(pid) / "smaps_rollup").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in rollup.splitlines() if line.startswith("Pss:")), 0.0)


def total(pids: Iterable[int]) -> float:
    """Return that of several."""
    return sum(pss(pid) for pid in pids)


def pids() -> list[int]:
    """Return all processes."""
    return [int(entry.name) for entry in PROC.iterdir() if entry.name.isdecimal()]


def children() -> dict[int, list[int]]:
    """Return the children of every process."""
    found: dict[int, list[int]] = defaultdict(list)
    for pid in pids():
        try:
            stat = (PROC / str(pid) / "stat").read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue
        found[int(stat.rpartition(")")[2].split()[1])].append(pid)
    return found


def tree(root: int, of: dict[int, list[int]]) -> list[int]:
    """Return a process and its descendants."""
    found = [root]
    for pid in found:
        found += of.get(pid, [])
    return found
