"""A /proc of plain files, as the kernel shows Chromium's processes."""

from __future__ import annotations

from pathlib import Path

import pytest

from driftstack_agent.sandbox import Status, parse_status, prove, renderers
from driftstack_common.protocol import Sandbox

STATUS = """Name:\tchromium-headle
Umask:\t0022
State:\tS (sleeping)
Pid:\t{pid}
PPid:\t{parent}
NSpid:\t{pid}\t4\t1
NoNewPrivs:\t1
Seccomp:\t2
Seccomp_filters:\t{filters}
Speculation_Store_Bypass:\tthread force mitigated
"""
BROWSER = 7


def process(proc: Path, pid: int, parent: int, kind: str, *, user: int = 1, filters: int = 1) -> None:
    folder = proc / str(pid)
    (folder / "ns").mkdir(parents=True)
    (folder / "ns" / "user").symlink_to(f"user:[{user}]")
    (folder / "status").write_text(STATUS.format(pid=pid, parent=parent, filters=filters))
    (folder / "cmdline").write_text(f"/usr/lib/chromium/chromium-headless-shell --type={kind} --headless=old\0\0")


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    process(tmp_path, 1, 0, "agent")
    process(tmp_path, BROWSER, 1, "browser")
    process(tmp_path, 10, BROWSER, "zygote", user=2)
    process(tmp_path, 11, BROWSER, "gpu-process", filters=2)
    (tmp_path / "uptime").write_text("1 2")
    return tmp_path


def test_parse_status() -> None:
    assert parse_status(STATUS.format(pid=3, parent=2, filters=2)) == Status(2, 2)


@pytest.mark.parametrize(("mode", "filters"), [(0, 0), (2, 1)])
def test_without_a_count_of_filters_the_mode_tells(mode: int, filters: int) -> None:
    assert parse_status(f"PPid:\t2\nSeccomp:\t{mode}\n").seccomp_filters == filters


def test_no_renderer_is_no_proof(proc: Path) -> None:
    process(proc, 20, 1, "renderer", user=2, filters=2)  # another browser's
    assert renderers(BROWSER, proc) == []
    assert prove(BROWSER, proc) is None


def test_a_confined_renderer_is_proof(proc: Path) -> None:
    process(proc, 20, 10, "renderer", user=2, filters=2)
    proof = prove(BROWSER, proc)
    assert proof == Sandbox(user_namespace=True, seccomp_filters=2, browser_seccomp_filters=1)
    assert proof.proven


@pytest.mark.parametrize(("user", "filters"), [(1, 2), (2, 1), (1, 1)])
def test_one_loose_renderer_spoils_it(proc: Path, user: int, filters: int) -> None:
    process(proc, 20, 10, "renderer", user=2, filters=2)
    process(proc, 21, 10, "renderer", user=user, filters=filters)
    proof = prove(BROWSER, proc)
    assert proof is not None
    assert not proof.proven


def test_a_renderer_whose_namespace_cannot_be_read_proves_nothing(proc: Path) -> None:
    process(proc, 20, 10, "renderer", user=2, filters=2)
    (proc / "20" / "ns" / "user").unlink()
    assert prove(BROWSER, proc) is None
