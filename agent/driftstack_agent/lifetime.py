"""The session's clocks, as a pure calculation on monotonic seconds, and the task that waits for them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from driftstack_common.protocol import EndReason, Limits


class Clocks:
    """idle runs while no step does, since the last DevTools command; duration from the claim.

    Both run from `now` at construction.
    """

    def __init__(self, limits: Limits, now: float) -> None:
        self._limits = limits
        self._claimed = now
        self._idle_since: float | None = now

    def step_started(self) -> None:
        """Stop the idle clock."""
        self._idle_since = None

    def step_ended(self, now: float) -> None:
        """Start the idle clock anew."""
        self._idle_since = now

    def touched(self, now: float) -> None:
        """Start the idle clock anew, if it runs; an alarm that is set too early for that sets itself anew."""
        if self._idle_since is not None:
            self._idle_since = now

    def idle_seconds(self, now: float) -> float:
        """Return how long no step ran and no DevTools command came; 0 while one does."""
        return 0.0 if self._idle_since is None else now - self._idle_since

    def due(self, now: float) -> EndReason | None:
        """Return the clock that has run out, if any; duration before idle."""
        duration, idle = self._limits.duration_seconds, self._limits.idle_seconds
        if duration is not None and now >= self._claimed + duration:
            return EndReason.DURATION
        if idle is not None and self._idle_since is not None and now >= self._idle_since + idle:
            return EndReason.IDLE
        return None

    def next_due(self) -> float | None:
        """Return the earliest time at which a clock can run out, None when none runs."""
        times = []
        if self._limits.duration_seconds is not None:
            times.append(self._claimed + self._limits.duration_seconds)
        if self._limits.idle_seconds is not None and self._idle_since is not None:
            times.append(self._idle_since + self._limits.idle_seconds)
        return min(times, default=None)


class Alarm:
    """Calls `ring(reason)` once a clock has run out; reset() after every change of the clocks."""

    def __init__(self, clocks: Clocks, ring: Callable[[EndReason], None]) -> None:
        self._clocks = clocks
        self._ring = ring
        self._timer: asyncio.TimerHandle | None = None
        self.reset()

    def reset(self) -> None:
        """Look at the clocks now and set the timer for the next that can run out."""
        self.stop()
        loop = asyncio.get_running_loop()
        reason, due = self._clocks.due(loop.time()), self._clocks.next_due()
        if reason is not None:
            self._ring(reason)
        elif due is not None:
            self._timer = loop.call_at(due, self.reset)

    def stop(self) -> None:
        """Ring no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
