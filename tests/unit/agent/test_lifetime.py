from __future__ import annotations

import asyncio
import heapq
import selectors
from typing import Any

import pytest

from driftstack_agent.lifetime import Alarm, Clocks
from driftstack_common.protocol import EndReason, Limits


@pytest.mark.parametrize(
    ("limits", "next_due"),
    [
        (Limits(), None),
        (Limits(idle_seconds=60), 160.0),
        (Limits(duration_seconds=30), 130.0),
        (Limits(idle_seconds=60, duration_seconds=30), 130.0),
        (Limits(idle_seconds=20, duration_seconds=30), 120.0),
    ],
)
def test_the_earliest_clock_is_next(limits: Limits, next_due: float | None) -> None:
    clocks = Clocks(limits, 100.0)
    assert clocks.next_due() == next_due
    assert clocks.due(100.0) is None
    if next_due is not None:
        assert clocks.due(next_due - 0.001) is None
        assert clocks.due(next_due) is not None


def test_idle_stands_still_during_a_step_and_starts_anew_after() -> None:
    clocks = Clocks(Limits(idle_seconds=10), 0.0)
    clocks.step_started()
    assert (clocks.due(1000.0), clocks.next_due(), clocks.idle_seconds(1000.0)) == (None, None, 0.0)
    clocks.step_ended(1000.0)
    assert clocks.next_due() == 1010.0
    assert clocks.idle_seconds(1004.0) == 4.0
    assert clocks.due(1010.0) is EndReason.IDLE


def test_duration_runs_during_a_step_and_comes_before_idle() -> None:
    clocks = Clocks(Limits(idle_seconds=10, duration_seconds=10), 0.0)
    assert clocks.due(10.0) is EndReason.DURATION
    clocks.step_started()
    assert clocks.due(10.0) is EndReason.DURATION


class VirtualLoop(asyncio.SelectorEventLoop):
    """A loop whose time jumps to the next timer instead of passing."""

    def __init__(self) -> None:
        super().__init__(_NoWaiting())
        self._now = 0.0

    def time(self) -> float:
        return self._now

    def _run_once(self) -> None:
        timers: list[Any] = self._scheduled  # type: ignore[attr-defined]  # asyncio's own heap of timers
        while timers and timers[0].cancelled():
            heapq.heappop(timers)._scheduled = False
        if timers and not self._ready:  # type: ignore[attr-defined]  # its queue of callbacks
            self._now = max(self._now, timers[0].when())
        super()._run_once()  # type: ignore[misc]  # one turn of the loop


class _NoWaiting(selectors.SelectSelector):
    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        return super().select(0)


def test_an_alarm_rings_after_half_an_hour_without_a_step() -> None:
    rung: list[tuple[float, EndReason]] = []

    async def session() -> None:
        loop = asyncio.get_running_loop()
        clocks = Clocks(Limits(idle_seconds=1800, duration_seconds=7200), loop.time())
        alarm = Alarm(clocks, lambda reason: rung.append((loop.time(), reason)))
        await asyncio.sleep(1700)
        clocks.step_started()
        alarm.reset()
        await asyncio.sleep(600)
        clocks.step_ended(loop.time())
        alarm.reset()
        assert rung == []
        await asyncio.sleep(2000)

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(session())
    assert rung == [(4100.0, EndReason.IDLE)]


def test_a_stopped_alarm_stays_silent() -> None:
    rung: list[EndReason] = []

    async def session() -> None:
        alarm = Alarm(Clocks(Limits(idle_seconds=5), asyncio.get_running_loop().time()), rung.append)
        alarm.stop()
        await asyncio.sleep(60)

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(session())
    assert rung == []


def test_a_command_starts_the_idle_clock_anew_and_the_alarm_finds_out() -> None:
    rung: list[float] = []

    async def session() -> None:
        loop = asyncio.get_running_loop()
        clocks = Clocks(Limits(idle_seconds=100), loop.time())
        Alarm(clocks, lambda _: rung.append(loop.time()))
        await asyncio.sleep(90)
        clocks.touched(loop.time())
        assert clocks.idle_seconds(loop.time()) == 0
        await asyncio.sleep(200)

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(session())
    assert rung == [190.0]


def test_a_command_during_a_step_starts_no_clock() -> None:
    clocks = Clocks(Limits(idle_seconds=10), 0.0)
    clocks.step_started()
    clocks.touched(5.0)
    assert clocks.due(100.0) is None
