"""A keyed work queue: many events about one object become one reconciliation.

A key that is added while it is worked on is worked on once more afterwards, never twice at once. A failed key comes
back after a delay that doubles; a success forgets the failures. Keys, not events, are queued: what to do is
always decided from what is observed at that moment.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, Final, Generic, Protocol, TypeVar

from driftstack_common.kube.errors import KubeError
from driftstack_common.logging import get_logger
from driftstack_operator.lanes import Lanes

FIRST_DELAY: Final = 0.05
"""Seconds before the first repetition after a failure."""
LONGEST_DELAY: Final = 30.0

K = TypeVar("K")
Reconcile = Callable[[K], Awaitable[float | None]]
"""Works on a key; returns seconds after which to look again, or None."""

logger = get_logger(__name__)


class Timer(Protocol):
    """What `call_later` returns."""

    def cancel(self) -> None:
        """Forget the call."""

    def when(self) -> float:
        """The clock's time at which it is due."""


class Clock(Protocol):
    """The part of an event loop that the queue needs; tests give their own."""

    def time(self) -> float:
        """Monotonic seconds."""

    def call_later(self, delay: float, callback: Callable[..., Any], *args: Any) -> Timer:
        """Call back after `delay` seconds."""


class WorkQueue(Generic[K]):
    """The queue and its workers.

    Args:
        reconcile: called with one key at a time per key, and at most `workers` at once.
        lane_of, share: the lane of a key, and how many keys of one lane may be worked on at once (see Lanes);
            without, all keys are in one.
        on_retry: called for every failure (a metric).
    """

    def __init__(
        self,
        reconcile: Reconcile[K],
        *,
        workers: int = 64,
        lane_of: Callable[[K], str] = lambda _: "",
        share: int | None = None,
        clock: Clock | None = None,
        on_retry: Callable[[], None] = lambda: None,
    ) -> None:
        self._reconcile = reconcile
        self._workers = workers
        self._clock = clock
        self._on_retry = on_retry
        self._ready: Lanes[K] = Lanes(lane_of, share or workers)
        self._queued: set[K] = set()
        self._working: set[K] = set()
        self._dirty: set[K] = set()
        self._timers: dict[K, Timer] = {}
        self._failures: dict[K, int] = {}
        self._idle: deque[asyncio.Future[None]] = deque()
        self._closed = False

    @property
    def depth(self) -> int:
        """Keys that wait for a worker."""
        return len(self._ready)

    @property
    def closed(self) -> bool:
        """Whether it takes nothing more."""
        return self._closed

    def add(self, key: K) -> None:
        """Work on this key as soon as a worker is free."""
        if self._closed or key in self._queued:
            return
        if key in self._working:
            self._dirty.add(key)
            return
        self._queued.add(key)
        self._ready.put(key)
        self._wake()

    def add_after(self, key: K, seconds: float) -> None:
        """Work on this key in so many seconds, or earlier when it is already due earlier."""
        if self._closed:
            return
        if seconds <= 0:
            self.add(key)
            return
        clock = self._time()
        timer = self._timers.get(key)
        if timer is not None and timer.when() <= clock.time() + seconds:
            return
        if timer is not None:
            timer.cancel()
        self._timers[key] = clock.call_later(seconds, self._due, key)

    async def run(self) -> None:
        """Work until `close`; returns when every worker has finished what it had begun."""
        async with asyncio.TaskGroup() as group:
            for number in range(self._workers):
                group.create_task(self._work(), name=f"worker-{number}")

    def close(self) -> None:
        """Take nothing more; workers end after the key in hand."""
        self._closed = True
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        self._ready.clear()
        self._queued.clear()
        while self._idle:
            self._wake()

    async def _work(self) -> None:
        while not self._closed:
            key = self._ready.take()
            if key is None:
                waiter = asyncio.get_running_loop().create_future()
                self._idle.append(waiter)
                await waiter
                continue
            await self.work_on(key)

    def take(self) -> K:
        """Return the next key that waits; IndexError when none does."""
        key = self._ready.take()
        if key is None:
            raise IndexError("no key waits")
        return key

    async def work_on(self, key: K) -> None:
        """Reconcile one key and arrange what follows from the outcome."""
        self._queued.discard(key)
        self._working.add(key)
        timer = self._timers.pop(key, None)
        if timer is not None:  # what is decided now says anew when to look again
            timer.cancel()
        try:
            again = await self._reconcile(key)
            self._failures.pop(key, None)
        except KubeError as error:
            again = self._failed(key)
            logger.warning("retrying", key=key, error=str(error), seconds=again)
        except Exception:  # a bug that one object brings out must not end the worker, nor lose the key
            again = self._failed(key)
            logger.exception("reconciliation failed", key=key, seconds=again)
        finally:
            self._working.discard(key)
            self._ready.done(key)
        if again is not None:
            self.add_after(key, again)
        if key in self._dirty:
            self._dirty.discard(key)
            self.add(key)

    def _failed(self, key: K) -> float:
        count = self._failures.get(key, 0)
        self._failures[key] = count + 1
        self._on_retry()
        return float(min(FIRST_DELAY * 2 ** min(count, 16), LONGEST_DELAY))

    def _due(self, key: K) -> None:
        self._timers.pop(key, None)
        self.add(key)

    def _wake(self) -> None:
        while self._idle:
            waiter = self._idle.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return

    def _time(self) -> Clock:
        return self._clock or asyncio.get_running_loop()
