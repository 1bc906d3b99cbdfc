"""What sessions ask of a pool: whether any starts just now, and how many warm pods their pace needs."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable
from typing import Final

from driftstack_common.kinds import PoolSpec

SLICE: Final = 10.0
"""Seconds of one count of creates."""
SLICES: Final = 30
STEADY: Final = 1.25
"""A pool shrinks to what it would need if starts took this much longer."""


class Starts:
    """The sessions that are starting: a refill waits until there is none."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._running: set[str] = set()
        self._last = -math.inf

    def begun(self, uid: str) -> bool:
        """A session takes a pod, or has one made; return whether it had not done so before."""
        if uid in self._running:
            return False
        self._running.add(uid)
        return True

    def ended(self, uid: str) -> None:
        """It is ready, or will never be."""
        if uid in self._running:
            self._running.discard(uid)
            self._last = self._clock()

    def quiet_for(self) -> float:
        """Return for how many seconds no session has been starting; less than 0 while one is."""
        return -1.0 if self._running else self._clock() - self._last


class Demand:
    """Counts the sessions that came to a pool, over the last five minutes."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._counts: deque[tuple[int, int]] = deque(maxlen=SLICES)

    def came(self) -> None:
        """A session came."""
        now = self._slice()
        count = self._counts.pop()[1] if self._counts and self._counts[-1][0] == now else 0
        self._counts.append((now, count + 1))

    def peak(self) -> float:
        """Return the creates per second of the busiest slice."""
        first = self._slice() - SLICES
        return max((count for number, count in self._counts if number > first), default=0) / SLICE

    def _slice(self) -> int:
        return int(self._clock() // SLICE)


def desired(spec: PoolSpec, peak: float, start_seconds: float, before: int = 0) -> int:
    """Return how many warm pods to keep. Pure.

    With `autoscale`: as many as sessions come while one pod starts, within its bounds.

    Args:
        peak: creates per second.
        start_seconds: from the decision to replace a pod until its replacement is warm.
        before: what was returned last; no two starts take the same time, and a pod that goes too soon costs one.
    """
    if spec.autoscale is None:
        return spec.replicas
    needed = math.ceil(peak * start_seconds)
    if needed < before:
        needed = min(before, math.ceil(peak * start_seconds * STEADY))
    return max(spec.autoscale.min, min(needed, spec.autoscale.max))
