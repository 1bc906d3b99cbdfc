"""Points at which a test stops the process."""

from __future__ import annotations

import os
import signal

import pytest

from driftstack_common.failpoints import Arm, Effect, Failpoints, WritePoints


@pytest.fixture
def signals(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    sent: list[int] = []
    monkeypatch.setattr(os, "kill", lambda pid, number: sent.append(number) if pid == os.getpid() else None)
    return sent


def test_a_point_that_is_not_armed_is_passed_and_counted(signals: list[int]) -> None:
    points = Failpoints()

    WritePoints(points).before("create-pods")

    assert (points.reached, signals) == ({"before-create-pods": 1}, [])


def test_an_armed_point_takes_effect_once_after_those_to_skip(signals: list[int]) -> None:
    points = Failpoints()
    points.arm("after-create-pods", Arm(skip=1))
    writes = WritePoints(points)

    writes.after("create-pods")
    assert signals == []
    writes.after("create-pods")
    writes.after("create-pods")

    assert signals == [signal.SIGKILL]


def test_a_frozen_process_can_be_woken(signals: list[int]) -> None:
    points = Failpoints()
    points.arm("before-create-pods", Arm(effect=Effect.FREEZE))

    points.reach("before-create-pods")

    assert signals == [signal.SIGSTOP]
