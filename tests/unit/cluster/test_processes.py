"""Records of processes, and the lock: found again, never mistaken for another."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from driftstack_cluster import lock, processes
from driftstack_cluster.errors import Busy
from driftstack_cluster.processes import Process, Supervisor


@pytest.fixture
def sleeper() -> Iterator[int]:
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    yield child.pid
    child.kill()
    child.wait()


def _process(tmp_path: Path, *argv: str) -> Process:
    return Process("etcd", argv, "none", is_healthy=lambda: True, inputs=(tmp_path / "configuration",))


def test_a_fingerprint_changes_with_arguments_and_inputs(tmp_path: Path) -> None:
    first = _process(tmp_path, "etcd").fingerprint()
    assert _process(tmp_path, "etcd").fingerprint() == first
    assert _process(tmp_path, "etcd", "--debug").fingerprint() != first

    (tmp_path / "configuration").write_text("x")

    assert _process(tmp_path, "etcd").fingerprint() != first


def test_a_reused_process_id_is_not_ours(sleeper: int) -> None:
    started = processes.start_time(sleeper)

    assert processes.is_alive({"pid": sleeper, "started": started})
    assert not processes.is_alive({"pid": sleeper, "started": started - 1})


def test_an_ended_process_is_not_alive_even_before_its_parent_asks() -> None:
    child = subprocess.Popen(["true"])
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)

    assert processes.start_time(child.pid) == 0
    child.wait()


def test_end_returns_only_when_it_has_ended(sleeper: int) -> None:
    processes.end(sleeper)

    assert processes.start_time(sleeper) == 0


@pytest.mark.parametrize("content", ["", "{", "[]", '{"pid": "x"}'])
def test_a_damaged_record_counts_as_none(tmp_path: Path, content: str) -> None:
    (tmp_path / "etcd.json").write_text(content)
    supervisor = Supervisor(tmp_path, tmp_path)

    assert supervisor.alive() == []
    assert not supervisor.running(_process(tmp_path, "etcd"))
    supervisor.stop("etcd")
    assert supervisor.names() == []


def test_a_process_started_otherwise_is_not_the_one_that_should_run(tmp_path: Path, sleeper: int) -> None:
    record = {"pid": sleeper, "started": processes.start_time(sleeper), "fingerprint": "old", "namespace": 0}
    (tmp_path / "etcd.json").write_text(json.dumps(record))
    supervisor = Supervisor(tmp_path, tmp_path)

    assert supervisor.alive() == ["etcd"]
    assert not supervisor.running(_process(tmp_path, "etcd"))


def test_the_second_is_told_who_holds_the_lock(tmp_path: Path) -> None:
    file = tmp_path / "node.lock"
    said: list[str] = []
    with lock.held(file, "make up", said.append):
        second = lock.held(file, "make down", said.append, wait_seconds=0)
        with pytest.raises(Busy, match=f"process {os.getpid()}"), second:
            pytest.fail("two held the lock")

    assert not file.exists()
    with lock.held(file, "make down", said.append, wait_seconds=0):
        assert json.loads(file.read_text())["purpose"] == "make down"
