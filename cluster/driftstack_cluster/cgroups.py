"""Control groups of the pods: made before the kubelet, which wants its root to be there."""

from __future__ import annotations

import contextlib
from pathlib import Path

_ROOT = Path("/sys/fs/cgroup")


def hierarchies() -> list[Path]:
    """Roots of all hierarchies: one with version 2, one per controller with version 1 (and a unified one)."""
    if (_ROOT / "cgroup.controllers").exists():
        return [_ROOT]
    return sorted({entry.resolve() for entry in _ROOT.iterdir() if entry.is_dir()})


def ensure(path: str) -> None:
    """Makes a group in every hierarchy, with its parent's controllers and processors."""
    for root in hierarchies():
        current = root
        for part in Path(path.lstrip("/")).parts:
            parent, current = current, current / part
            current.mkdir(exist_ok=True)
            _inherit(parent, current)


def processes(path: str) -> set[int]:
    """Ids of all processes in a group and below it."""
    found: set[int] = set()
    for root in hierarchies():
        for file in (root / path.lstrip("/")).rglob("cgroup.procs"):
            with contextlib.suppress(OSError):
                found.update(int(line) for line in file.read_text().split())
    return found


def remove(path: str) -> None:
    """Removes a group with all below it; it must hold no process."""
    for root in hierarchies():
        top = root / path.lstrip("/")
        if not top.exists():
            continue
        below = sorted((entry for entry in top.rglob("*") if entry.is_dir()), key=lambda e: -len(e.parts))
        for group in [*below, top]:
            with contextlib.suppress(OSError):
                group.rmdir()


def remains(path: str) -> list[Path]:
    """Groups that are still there."""
    return [group for root in hierarchies() if (group := root / path.lstrip("/")).exists()]


def _inherit(parent: Path, child: Path) -> None:
    # A new cpuset (version 1) is empty, and then takes no process.
    for name in ("cpuset.cpus", "cpuset.mems"):
        source, target = parent / name, child / name
        with contextlib.suppress(OSError):
            if source.exists() and target.exists() and not target.read_text().strip():
                target.write_text(source.read_text())
    with contextlib.suppress(OSError):
        available = (parent / "cgroup.controllers").read_text().split()
        (parent / "cgroup.subtree_control").write_text(" ".join(f"+{name}" for name in available))
