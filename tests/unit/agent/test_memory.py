from __future__ import annotations

from pathlib import Path

import pytest

from driftstack_agent.memory import OomKills

V1 = "oom_kill_disable 0\nunder_oom 0\noom_kill {}\n"
V2 = "low 0\nhigh 3\nmax 12\noom 1\noom_kill {}\noom_group_kill 0\n"


@pytest.mark.parametrize(("file", "text"), [("memory/memory.oom_control", V1), ("memory.events", V2)])
def test_counts_since_the_start(tmp_path: Path, file: str, text: str) -> None:
    path = tmp_path / file
    path.parent.mkdir(exist_ok=True)
    path.write_text(text.format(2))
    kills = OomKills(tmp_path)
    assert not kills.any
    path.write_text(text.format(3))
    assert kills.any


def test_without_a_counter_nothing_is_claimed(tmp_path: Path) -> None:
    assert not OomKills(tmp_path).any


def test_a_kernel_that_does_not_count_says_nothing(tmp_path: Path) -> None:
    (tmp_path / "memory").mkdir()
    (tmp_path / "memory" / "memory.oom_control").write_text("oom_kill_disable 0\nunder_oom 0\n")
    assert not OomKills(tmp_path).any
