"""When an account's status tells a new number of live sessions: a second after it changed, if it still differs.

So an account costs at most one such write a second, and a session that is gone within the second none.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

PACE: Final = 1.0
"""Seconds that a wrong number may stand."""


class LiveCounts:
    """Remembers since when each account's status has been wrong."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._since: dict[str, float] = {}

    def due_in(self, name: str, shown: int | None, live: int) -> float | None:
        """Return in how many seconds to write, at most 0 for now; None while what is shown is right."""
        if shown == live:
            self.forget(name)
            return None
        now = self._clock()
        return self._since.setdefault(name, now) + PACE - now

    def forget(self, name: str) -> None:
        """The status is right, or the account is gone."""
        self._since.pop(name, None)
