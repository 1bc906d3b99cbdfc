"""Points at which a test stops the process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import msgspec
import pytest

from driftstack_common.failpoints import Arm, Effect, Failpoints, WritePoints

FROZEN = """
from driftstack_common.failpoints import Arm, Effect, Failpoints
points = Failpoints()
points.arm("before-create-pods", Arm(effect=Effect.FREEZE))
print("begun", flush=True)
points.reach("before-create-pods")
print("woken", flush=True)
"""


@pytest.fixture
def exits(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    codes: list[int] = []
    monkeypatch.setattr(os, "_exit", codes.append)
    return codes


def test_a_point_that_is_not_armed_is_passed_and_counted(exits: list[int]) -> None:
    points = Failpoints()

    WritePoints(points).before("create-pods")

    assert (points.tell(), exits) == ({"reached": {"before-create-pods": 1}, "armed": []}, [])


def test_an_armed_point_takes_effect_once_after_those_to_skip(exits: list[int]) -> None:
    points = Failpoints()
    points.arm("after-create-pods", Arm(skip=1))
    writes = WritePoints(points)

    writes.after("create-pods")
    assert exits == []
    writes.after("create-pods")
    writes.after("create-pods")

    assert exits == [137]


def test_a_frozen_process_stands_still_until_it_is_woken() -> None:
    with subprocess.Popen([sys.executable, "-c", FROZEN], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.5)
        process.send_signal(signal.SIGCONT)
        assert (process.stdout.read().splitlines()[-1], process.wait(5)) == ("woken", 0)


def test_how_a_point_is_armed_is_read_from_json() -> None:
    assert Arm.parse(b"") == Arm(effect=Effect.KILL, skip=0)
    assert Arm.parse(b'{"effect":"freeze","skip":3}') == Arm(effect=Effect.FREEZE, skip=3)
    for wrong in (b"kill", b'{"effect":"maim"}', b'{"times":2}'):
        with pytest.raises(msgspec.DecodeError):
            Arm.parse(wrong)


@pytest.mark.parametrize("name", ["create-pods", "before-", "before-Create", "before-create pods"])
def test_what_no_point_can_be_called_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="no point"):
        Failpoints().arm(name, Arm())
