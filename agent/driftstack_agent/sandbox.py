"""Proves from /proc that Chromium confines its renderers.

Chromium has two layers: a user namespace of the renderer's own, and a seccomp filter on top of the container's.
Either may be missing in silence, so both are read from the kernel, not from Chromium.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final, NamedTuple

from driftstack_common.protocol import Sandbox

PROC: Final = Path("/proc")


class Status(NamedTuple):
    """What /proc/<pid>/status says: the parent's pid, and the number of seccomp filters."""

    parent: int
    seccomp_filters: int


def parse_status(text: str) -> Status:
    """Read a status file; kernels before 5.9 don't count filters, there the mode decides (2 is a filter)."""
    fields = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
    mode = int(fields.get("Seccomp", "0"))
    filters = int(fields.get("Seccomp_filters", "1" if mode == 2 else "0"))
    return Status(int(fields["PPid"]), filters)


def renderers(browser: int, proc: Path = PROC) -> list[int]:
    """Return the pids of the renderers among the browser's descendants."""
    parents = {pid: status.parent for pid in _pids(proc) if (status := _status(proc, pid)) is not None}
    found = [pid for pid in parents if _descends(pid, browser, parents) and _is_renderer(proc, pid)]
    return sorted(found)


def prove(browser: int, proc: Path = PROC) -> Sandbox | None:
    """Return what the least confined renderer shows, or None when there is no renderer (yet)."""
    own = _status(proc, browser)
    namespace = _user_namespace(proc, browser)
    seen = [(_user_namespace(proc, pid), _status(proc, pid)) for pid in renderers(browser, proc)]
    alive = [(user, status) for user, status in seen if user is not None and status is not None]
    if own is None or namespace is None or not alive:
        return None
    return Sandbox(
        user_namespace=all(user != namespace for user, _ in alive),
        seccomp_filters=min(status.seccomp_filters for _, status in alive),
        browser_seccomp_filters=own.seccomp_filters,
    )


def _pids(proc: Path) -> list[int]:
    return [int(entry.name) for entry in proc.iterdir() if entry.name.isdecimal()]


def _descends(pid: int, ancestor: int, parents: dict[int, int]) -> bool:
    while pid in parents:
        pid = parents[pid]
        if pid == ancestor:
            return True
    return False


def _is_renderer(proc: Path, pid: int) -> bool:
    try:
        # The zygote's children join their arguments with spaces, not NUL bytes.
        return b"--type=renderer" in (proc / str(pid) / "cmdline").read_bytes()
    except OSError:  # it ended meanwhile
        return False


def _status(proc: Path, pid: int) -> Status | None:
    try:
        return parse_status((proc / str(pid) / "status").read_text())
    except OSError:  # it ended meanwhile
        return None


def _user_namespace(proc: Path, pid: int) -> str | None:
    try:
        return str((proc / str(pid) / "ns" / "user").readlink())
    except OSError:  # it ended meanwhile, or may not be read: no proof either way
        return None
