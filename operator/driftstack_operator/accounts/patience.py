"""How long to wait before looking again at what takes its own time."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

SHORTEST: Final = 0.5
LONGEST: Final = 30.0
SHARE: Final = 0.1
"""Of the time waited so far: the longer something has taken, the less one more look at once would tell."""
EACH: Final = 0.04
"""Seconds for each that waits: 25 looks a second, however many wait."""


class Patience:
    """Remembers since when each account waits; delays grow from SHORTEST to LONGEST, seconds.

    When many wait, each looks more seldom: what they wait for needs the API server more than they do.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._since: dict[str, float] = {}

    def waited(self, name: str) -> float:
        """Return for how long, seconds; the first call begins to count."""
        now = self._clock()
        return now - self._since.setdefault(name, now)

    def again(self, name: str) -> float:
        """Return in how many seconds to look again."""
        return min(LONGEST, max(SHORTEST, self.waited(name) * SHARE, len(self._since) * EACH))

    def forget(self, name: str) -> None:
        """It waits no longer."""
        self._since.pop(name, None)
