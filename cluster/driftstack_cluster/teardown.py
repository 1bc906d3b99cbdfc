"""Taking a node away without a trace, whatever state it is in."""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path

from driftstack_cluster import cgroups, firewall, namespaces, network
from driftstack_cluster.errors import ClusterError, CommandFailed
from driftstack_cluster.layout import Layout, Machine
from driftstack_cluster.processes import Supervisor, end_all
from driftstack_cluster.progress import Progress
from driftstack_cluster.settings import Settings
from driftstack_cluster.shell import run

# Places that components write to whatever their flags say.
_FOREIGN = (
    "/var/lib/kubelet",
    "/var/log/containers",
    "/var/lib/cni",
    "/run/containerd",
    "/tmp/hostpath_pv",  # noqa: S108 - the provisioner's own fixed place, which we only remove
)
# Ours keeps its socket and its configuration elsewhere.
_SIGNS_OF_OTHERS = ("containerd.sock", "config.yaml", "pki")
_SITE = "driftstack_cluster/site.py"
# The store needs a moment to close its files; nothing else here has anything to lose.
_PATIENCE_SECONDS = 2.0
_CONTAINER_LOGS = Path("/var/log/containers")
_CNI_RESULTS = Path("/var/lib/cni/results")


def remove(layout: Layout, supervisor: Supervisor, settings: Settings, progress: Progress) -> None:
    """Removes everything that `up` made, but for packages and caches."""
    with progress.step("Stop processes"):
        stop_everything(layout, supervisor)
    with progress.step("Remove networks, mounts, control groups and state"):
        firewall.ensure_egress(layout, False, layout.state / "ip_forward")
        network.remove(layout)
        cgroups.remove(f"/{layout.prefix}")
        ours = _foreign_of(layout)
        for folder in (layout.run, layout.state):
            unmount_below(folder)
            shutil.rmtree(folder, ignore_errors=True)
        _remove_leftovers(layout, ours)
        settings.forget_access()
        _check_gone(layout)


def stop_everything(layout: Layout, supervisor: Supervisor) -> None:
    """Ends the node's processes, then its pods, and unmounts what they had."""
    # The kubelets first: they would start again what we end.
    supervisor.stop_all([name for name in supervisor.names() if name.startswith("kubelet")], _PATIENCE_SECONDS)
    supervisor.stop_all(supervisor.names(), _PATIENCE_SECONDS)
    _remove_shim_sockets(layout)
    end_all(_all_pids(layout), _PATIENCE_SECONDS)
    unmount_below(layout.run)
    for machine in _every_machine(layout):
        unmount_below(machine.kubelet_root)
        # The runtime's records of processes that are no more.
        for folder in ("containerd", "runc", "addresses"):
            shutil.rmtree(machine.run / folder, ignore_errors=True)


def remove_machine(layout: Layout, machine: Machine, supervisor: Supervisor) -> None:
    """Takes one node away from a cluster that goes on."""
    suffix = f"-{machine.number}"
    supervisor.stop_all([name for name in supervisor.names() if name.endswith(suffix)], _PATIENCE_SECONDS)
    pids = cgroups.processes(machine.cgroup) | _with_command(f"{machine.run}/") | _in_namespace(machine.namespace)
    end_all(pids - {os.getpid()}, _PATIENCE_SECONDS)
    if namespaces.path(machine.namespace).exists():
        run(["ip", "netns", "del", machine.namespace])
    cgroups.remove(machine.cgroup)
    for folder in (machine.run, machine.state):
        unmount_below(folder)
        shutil.rmtree(folder, ignore_errors=True)


def end_orphans(layout: Layout, supervisor: Supervisor) -> None:
    """Ends processes of ours without a record (an `up` that was killed between the two)."""
    known = {record for name in supervisor.names() if (record := supervisor.pid(name))}
    for machine in layout.machines:
        ours = _with_command(str(layout.state)) | _with_command(str(layout.run)) | _with_command(_SITE)
        pids = ours & _in_namespace(machine.namespace)
        orphans = {pid for pid in pids - known if not _is_shim(pid)}
        end_all(orphans)


def unmount_below(folder: Path) -> None:
    """Unmounts everything at or below a folder, the innermost first."""
    targets = [path for path in _mount_points() if path == folder or folder in path.parents]
    for path in sorted(targets, key=lambda path: -len(path.parts)):
        with contextlib.suppress(CommandFailed):
            run(["umount", "--lazy", str(path)])


def clear_build(folder: Path) -> None:
    """Ends and unmounts what a killed image build left below its folder; nobody may build meanwhile."""
    layers = (folder / "layers").resolve()
    end_all(_with_command(f"--root={folder / 'layers'}"), _PATIENCE_SECONDS)
    unmount_below(layers)


def note_foreign(layout: Layout) -> None:
    """Keeps which shared places were there before us, once."""
    file = _foreign_file(layout)
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("\n".join(place for place in _FOREIGN if Path(place).exists()))


def remains(layout: Layout) -> list[str]:
    """What is still there of a node, for people and for tests."""
    found = [f"process {pid}" for pid in sorted(_all_pids(layout))]
    found += [f"namespace {m.namespace}" for m in _every_machine(layout) if namespaces.path(m.namespace).exists()]
    found += [f"mount {path}" for path in _mount_points() if {layout.run, layout.state} & {path, *path.parents}]
    found += [f"control group {group}" for group in cgroups.remains(f"/{layout.prefix}")]
    found += [f"folder {folder}" for folder in (layout.run, layout.state) if folder.exists()]
    if layout.host_link in os.listdir("/sys/class/net"):
        found.append(f"link {layout.host_link}")
    return found


def _check_gone(layout: Layout) -> None:
    left = remains(layout)
    if left:
        raise ClusterError("some of the node is still there: " + ", ".join(left), "Run `make down` again.")


def _every_machine(layout: Layout) -> list[Machine]:
    return [Machine(layout.instance, number) for number in (1, 2)]


def _all_pids(layout: Layout) -> set[int]:
    pids = cgroups.processes(f"/{layout.prefix}")
    for machine in _every_machine(layout):
        pids |= _with_command(f"{machine.run}/") | _in_namespace(machine.namespace)
    return pids - {os.getpid()}


def _with_command(part: str) -> set[int]:
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                if part.encode() in (entry / "cmdline").read_bytes():
                    found.add(int(entry.name))
    return found - _ancestors()


def _ancestors() -> set[int]:
    """Ourselves and whoever called us: a shell whose command line names our folders must not end us."""
    found, pid = set[int](), os.getpid()
    while pid > 1:
        found.add(pid)
        try:
            pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            break
    return found


def _in_namespace(namespace: str) -> set[int]:
    with contextlib.suppress(OSError):
        wanted = namespaces.path(namespace).stat()
        return {int(p.name) for p in Path("/proc").iterdir() if p.name.isdigit() and _is_in(p, wanted)}
    return set()


def _is_in(process: Path, wanted: os.stat_result) -> bool:
    try:
        found = (process / "ns" / "net").stat()
    except OSError:
        return False
    return (found.st_dev, found.st_ino) == (wanted.st_dev, wanted.st_ino)


def _is_shim(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return b"containerd-shim" in Path(f"/proc/{pid}/cmdline").read_bytes()
    return False


def _mount_points() -> list[Path]:
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return [Path(line.split()[4].encode().decode("unicode_escape")) for line in lines]


def _remove_shim_sockets(layout: Layout) -> None:
    # A shim listens in a folder that all containerds share, and a killed one leaves its socket.
    for machine in _every_machine(layout):
        for file in (machine.run / "containerd").glob("io.containerd.runtime.v2.task/*/*/address"):
            address = file.read_text().strip().removeprefix("unix://")
            if address.startswith("/run/containerd/s/"):
                Path(address).unlink(missing_ok=True)


def _foreign_file(layout: Layout) -> Path:
    return layout.state.parent / "foreign"


def _foreign_of(layout: Layout) -> list[Path]:
    try:
        before = _foreign_file(layout).read_text().splitlines()
    except OSError:
        return []
    return [Path(place) for place in _FOREIGN if place not in before]


def _remove_leftovers(layout: Layout, ours: list[Path]) -> None:
    if _CONTAINER_LOGS.exists():
        for link in _CONTAINER_LOGS.iterdir():
            if link.is_symlink() and layout.state in Path(os.readlink(link)).parents:
                link.unlink()
    if _CNI_RESULTS.exists():
        for file in _CNI_RESULTS.iterdir():
            if f'"{layout.run}/' in file.read_text():
                file.unlink()
    # Instances share these places; the last one out removes them.
    if not any(layout.state.parent.glob("node*")):
        for place in ours:
            if not is_used_by_others(place):
                shutil.rmtree(place, ignore_errors=True)
        _foreign_file(layout).unlink(missing_ok=True)
        # It may hold something else, or was never there.
        with contextlib.suppress(OSError):
            layout.state.parent.rmdir()


def is_used_by_others(place: Path) -> bool:
    """Whether somebody else came to use a shared place while the node was up (Docker, another kubelet)."""
    mounted = any(place == path or place in path.parents for path in _mount_points())
    return mounted or any((place / sign).exists() for sign in _SIGNS_OF_OTHERS)
