"""The work queue, on a clock that the test moves."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable
from typing import Any

import pytest

from driftstack_common.kube.errors import Unreachable
from driftstack_operator.workqueue import LONGEST_DELAY, WorkQueue


class FakeTimer:
    def __init__(self, due: float, call: Callable[[], None]) -> None:
        self.due, self.call, self.cancelled = due, call, False

    def cancel(self) -> None:
        self.cancelled = True

    def when(self) -> float:
        return self.due

    def __lt__(self, other: FakeTimer) -> bool:
        return self.due < other.due


class FakeClock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 0.0
        self.timers: list[FakeTimer] = []

    def time(self) -> float:
        return self.now

    def call_later(self, delay: float, callback: Callable[..., Any], *args: Any) -> FakeTimer:
        timer = FakeTimer(self.now + delay, lambda: callback(*args))
        heapq.heappush(self.timers, timer)
        return timer

    def advance(self, seconds: float) -> None:
        until = self.now + seconds
        while self.timers and self.timers[0].due <= until:
            timer = heapq.heappop(self.timers)
            self.now = timer.due
            if not timer.cancelled:
                timer.call()
        self.now = until


class Bench:
    """A queue, what it worked on and what it shall answer."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.done: list[str] = []
        self.answers: list[float | Exception | None] = []
        self.retries = 0
        self.queue: WorkQueue[str] = WorkQueue(self.reconcile, clock=self.clock, on_retry=self.count)

    def count(self) -> None:
        self.retries += 1

    async def reconcile(self, key: str) -> float | None:
        self.done.append(key)
        answer = self.answers.pop(0) if self.answers else None
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def work(self) -> list[str]:
        """Work on everything that is due; return what was worked on."""
        self.done.clear()
        while self.queue.depth:
            await self.queue.work_on(self.queue.take())
        return list(self.done)


@pytest.fixture
def bench() -> Bench:
    return Bench()


async def test_a_key_is_queued_once(bench: Bench) -> None:
    for key in ("a", "b", "a", "a"):
        bench.queue.add(key)
    assert await bench.work() == ["a", "b"]


async def test_key_added_while_worked_on_is_worked_on_once_more(bench: Bench) -> None:
    started, finish = asyncio.Event(), asyncio.Event()
    runs = 0

    async def reconcile(_: str) -> None:
        nonlocal runs
        runs += 1
        started.set()
        await finish.wait()

    queue: WorkQueue[str] = WorkQueue(reconcile, workers=2, clock=bench.clock)
    working = asyncio.create_task(queue.run())
    queue.add("a")
    await started.wait()
    for _ in range(3):
        queue.add("a")
    assert (runs, queue.depth) == (1, 0)
    finish.set()
    for _ in range(20):
        await asyncio.sleep(0)
    assert runs == 2
    queue.close()
    await working


async def test_asked_for_later(bench: Bench) -> None:
    bench.answers = [2.0]
    bench.queue.add("a")
    await bench.work()
    bench.clock.advance(1.9)
    assert await bench.work() == []
    bench.clock.advance(0.1)
    assert await bench.work() == ["a"]


async def test_the_earlier_of_two_times_counts(bench: Bench) -> None:
    bench.queue.add_after("a", 5)
    bench.queue.add_after("a", 1)
    bench.queue.add_after("a", 3)
    bench.clock.advance(1)
    assert await bench.work() == ["a"]
    bench.clock.advance(10)
    assert await bench.work() == []


async def test_work_supersedes_an_earlier_appointment(bench: Bench) -> None:
    bench.queue.add_after("a", 5)
    bench.queue.add("a")
    assert await bench.work() == ["a"]
    bench.clock.advance(10)
    assert await bench.work() == []


async def test_failures_wait_twice_as_long_each_time_up_to_a_limit(bench: Bench) -> None:
    bench.answers = [Unreachable("away")] * 14
    bench.queue.add("a")
    await bench.work()
    waits = []
    for _ in range(13):
        before = bench.clock.now
        bench.clock.advance(bench.clock.timers[0].due - before)
        waits.append(round(bench.clock.now - before, 3))
        assert await bench.work() == ["a"]
    assert waits[:4] == [0.05, 0.1, 0.2, 0.4]
    assert waits[-1] == LONGEST_DELAY
    assert bench.retries == 14


async def test_success_forgets_failures(bench: Bench) -> None:
    bench.answers = [Unreachable("away"), Unreachable("away"), None, Unreachable("away")]
    bench.queue.add("a")
    for _ in range(2):
        await bench.work()
        bench.clock.advance(1)
    await bench.work()
    bench.queue.add("a")
    await bench.work()
    assert bench.clock.timers[0].due - bench.clock.now == pytest.approx(0.05)


async def test_a_bug_in_one_key_stops_neither_worker_nor_key(bench: Bench) -> None:
    bench.answers = [ZeroDivisionError()]
    bench.queue.add("a")
    bench.queue.add("b")
    assert await bench.work() == ["a", "b"]
    bench.clock.advance(1)
    assert await bench.work() == ["a"]


async def test_event_does_not_wait_for_a_back_off(bench: Bench) -> None:
    bench.answers = [Unreachable("away")] * 8
    bench.queue.add("a")
    await bench.work()
    bench.queue.add("a")
    assert await bench.work() == ["a"]


async def test_a_waiting_worker_does_not_hold_up_others(bench: Bench) -> None:
    hang = asyncio.Event()
    done: list[str] = []

    async def reconcile(key: str) -> None:
        if key == "slow":
            await hang.wait()
        done.append(key)

    queue: WorkQueue[str] = WorkQueue(reconcile, workers=2, clock=bench.clock)
    working = asyncio.create_task(queue.run())
    for key in ("slow", "a", "b", "c"):
        queue.add(key)
    for _ in range(20):
        await asyncio.sleep(0)
    assert done == ["a", "b", "c"]
    queue.close()
    hang.set()
    await working
    assert done[-1] == "slow"


async def test_closed_queue_takes_nothing_and_ends(bench: Bench) -> None:
    working = asyncio.create_task(bench.queue.run())
    await asyncio.sleep(0)
    bench.queue.add_after("later", 1)
    bench.queue.close()
    bench.queue.add("a")
    bench.queue.add_after("b", 1)
    await working
    bench.clock.advance(5)
    assert bench.done == []


async def test_who_has_many_keys_does_not_make_others_wait(bench: Bench) -> None:
    queue: WorkQueue[str] = WorkQueue(bench.reconcile, lane_of=lambda key: key[0], clock=bench.clock)
    for number in range(100):
        queue.add(f"a{number}")
    queue.add("b0")
    queue.add("c0")
    first = [queue.take() for _ in range(6)]
    assert first == ["a0", "b0", "c0", "a1", "a2", "a3"]


async def test_one_lane_leaves_workers_to_others() -> None:
    started: list[str] = []
    release = asyncio.Event()

    async def reconcile(key: str) -> None:
        started.append(key)
        await release.wait()

    queue: WorkQueue[str] = WorkQueue(reconcile, workers=4, lane_of=lambda key: key[0], share=2)
    task = asyncio.create_task(queue.run())
    for number in range(5):
        queue.add(f"a{number}")
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert started == ["a0", "a1"]
    queue.add("b0")
    await asyncio.sleep(0)
    assert started == ["a0", "a1", "b0"]
    release.set()
    for _ in range(10):
        await asyncio.sleep(0)
    assert sorted(started) == ["a0", "a1", "a2", "a3", "a4", "b0"]
    queue.close()
    await task
