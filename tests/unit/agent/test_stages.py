from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from driftstack_agent import stages
from driftstack_agent.stages import Stages, process_age, sandbox_age

TICKS = os.sysconf("SC_CLK_TCK")


def stat(started: float, name: str = "python3") -> str:
    before = "S 1 1 1 0 -1 4194560 0 0 0 0 0 0 0 0 20 0 1 0"
    return f"7 ({name}) {before} {int(started * TICKS)} 1000 200 0"


@pytest.mark.parametrize("name", ["python3", "a) S (b"])
def test_the_process_began_when_the_kernel_says(name: str) -> None:
    began = time.clock_gettime(time.CLOCK_BOOTTIME) - 5
    assert process_age(stat(began, name)) == pytest.approx(5, abs=0.5)


def test_this_process_has_an_age() -> None:
    assert process_age(stages.STAT.read_text()) > 0


def test_the_sandbox_was_up_when_the_kubelet_wrote_hosts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hosts = tmp_path / "hosts"
    monkeypatch.setattr(stages, "HOSTS", hosts)
    assert sandbox_age() is None
    hosts.touch()
    os.utime(hosts, (0, time.time() - 30))
    assert sandbox_age() == pytest.approx(30, abs=5)


def test_stages_are_told_by_their_age() -> None:
    start = Stages()
    start.reached("agent")
    reached = start.ago()
    assert reached.container is not None
    assert reached.agent is not None
    assert reached.container >= reached.agent >= 0
    assert reached.page is None
