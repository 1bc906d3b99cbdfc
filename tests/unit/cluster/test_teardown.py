"""`make down` takes what is ours, whatever is there, and nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from driftstack_cluster import layout, teardown
from driftstack_cluster.layout import Layout


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Layout:
    monkeypatch.setattr(layout, "state_root", lambda _: tmp_path / "lib" / "node")
    monkeypatch.setattr(teardown, "_CONTAINER_LOGS", tmp_path / "logs")
    monkeypatch.setattr(teardown, "_CNI_RESULTS", tmp_path / "cni")
    return Layout()


def test_a_second_down_finds_nothing_and_is_content(node: Layout) -> None:
    teardown._remove_leftovers(node, [])
    node.state.parent.mkdir()
    teardown._remove_leftovers(node, [])

    assert not node.state.parent.exists()


def test_a_shared_place_that_others_came_to_use_stays(
    node: Layout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, dockers, mounted = (tmp_path / name for name in ("ours", "dockers", "mounted"))
    for place in (ours, dockers, mounted):
        place.mkdir()
    (dockers / "containerd.sock").touch()
    monkeypatch.setattr(teardown, "_mount_points", lambda: [mounted / "pods" / "volume"])

    teardown._remove_leftovers(node, [ours, dockers, mounted])

    assert [place.exists() for place in (ours, dockers, mounted)] == [False, True, True]


def _until_it_is_seen(pid: int) -> None:
    # Right after its start a process may not have its command line yet.
    deadline = time.monotonic() + 5
    while not Path(f"/proc/{pid}/cmdline").read_bytes():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_what_a_killed_build_mounted_is_unmounted_and_its_program_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unmounted: list[Path] = []
    monkeypatch.setattr(teardown, "unmount_below", unmounted.append)
    (tmp_path / "real").mkdir()
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "real")
    orphan = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)", f"--root={link}/layers"])
    try:
        _until_it_is_seen(orphan.pid)
        teardown.clear_build(link)

        assert orphan.wait(timeout=5) != 0
        assert unmounted == [tmp_path / "real" / "layers"]  # the kernel lists mounts without links
    finally:
        orphan.kill()
        orphan.wait()


def test_the_shell_that_called_us_is_none_of_the_nodes_processes() -> None:
    inner = "from driftstack_cluster import teardown; print(teardown._with_command('a-telling-word'))"
    script = f'sh -c \'"{sys.executable}" -c "$INNER"; :\'; : a-telling-word'
    done = subprocess.run(
        ["sh", "-c", script],
        env={**os.environ, "INNER": inner},
        capture_output=True,
        text=True,
        check=True,
        cwd="/",
    )

    assert done.stdout.strip() == "set()"
