"""Whose turn it is to send: endpoints that answer fast wait for no slow ones.

An attempt holds one of the quick places for a second at most. If it lasts longer it goes on without one, and its
endpoint is slow: until an attempt there has ended within a second, it shares the slow places with others.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from driftstack_operator.webhooks.lanes import Lane

LATE: Final = 1.0
"""Seconds after which an attempt is slow."""
QUICK_AT_ONCE: Final = 128
"""Attempts at once at endpoints that are not known to be slow."""
SLOW_AT_ONCE: Final = 128
"""Attempts at once at those that are; fewer than names can be resolved at once (targets.LOOKUPS)."""


class Turn:
    """One attempt's place.

    Attributes:
        lane: whose it is.
        late: the attempt has taken LATE or more.
    """

    def __init__(self, lane: Lane, places: asyncio.Semaphore, *, quick: bool) -> None:
        self.lane = lane
        self.late = False
        self._places: asyncio.Semaphore | None = places
        self._quick = quick

    def overrun(self) -> None:
        """The attempt has become late."""
        self.late = self.lane.slow = True
        if self._quick:
            self.end()

    def end(self) -> None:
        """Give the place back; fine when that was done before."""
        places, self._places = self._places, None
        if places is not None:
            places.release()


class Turns:
    """All places."""

    def __init__(self) -> None:
        self._quick = asyncio.Semaphore(QUICK_AT_ONCE)
        self._slow = asyncio.Semaphore(SLOW_AT_ONCE)

    @asynccontextmanager
    async def wait(self, lane: Lane) -> AsyncIterator[Turn]:
        """Wait for a place of the kind that is the lane's by then."""
        turn = await self._next(lane)
        try:
            yield turn
        finally:
            turn.end()

    async def _next(self, lane: Lane) -> Turn:
        while True:
            slow = lane.slow
            places = self._slow if slow else self._quick
            await places.acquire()
            if lane.slow == slow:
                return Turn(lane, places, quick=not slow)
            places.release()
