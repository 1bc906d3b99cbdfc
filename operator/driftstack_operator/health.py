"""Whether the operator is well: what the probes answer."""

from __future__ import annotations

import asyncio
from typing import Final

from driftstack_operator.metrics import Metrics
from driftstack_operator.streams import Streams

LAG_INTERVAL: Final = 0.5
WORST_LAG: Final = 10.0
"""Seconds that the event loop may be late before the process counts as stuck."""


class Health:
    """Collected from all parts.

    Attributes:
        primed: the first LISTs are in the store.
        blind: kinds whose watch did not bring what LISTs showed, twice in a row.
        lag: how late the event loop was lately, seconds.
        streams: what is known of the watches themselves.
    """

    def __init__(self, streams: Streams | None = None) -> None:
        self.primed = False
        self.blind: set[str] = set()
        self.lag = 0.0
        self.streams = streams
        self._doubtful: set[str] = set()

    @property
    def doubtful(self) -> bool:
        """Whether any watch missed something in the last judgement: the next one should come soon."""
        return bool(self._doubtful)

    def judged(self, kind: str, *, dead: bool) -> None:
        """Take in whether a watch had missed what a LIST showed; it counts twice in a row, as a fault may pass."""
        if dead and kind in self._doubtful:
            self.blind.add(kind)
        (self._doubtful.add if dead else self._doubtful.discard)(kind)
        if not dead:
            self.blind.discard(kind)

    def unjudged(self) -> None:
        """The API server could not be asked: what watches missed proves nothing while it is away."""
        self._doubtful.clear()
        self.blind.clear()

    def stale(self) -> list[str]:
        """Return the kinds of which changes may be missing: an operator that doesn't see is not ready."""
        return self.streams.stale() if self.streams is not None and self.primed else []

    def problems(self) -> list[str]:
        """Return why the process should be restarted; empty when all is well.

        An API server that can't be reached is no such reason: a restart would not help.
        """
        found = [f"the watch of {kind} brings nothing" for kind in sorted(self.blind)]
        if self.streams is not None:
            found += [f"{kind} are not watched any more" for kind in self.streams.forgotten()]
        if self.lag > WORST_LAG:
            found.append(f"the event loop is {self.lag:.1f} s late")
        return found

    async def measure_lag(self, metrics: Metrics) -> None:
        """Measure until cancelled; a high value fades over the next measurements."""
        loop = asyncio.get_running_loop()
        while True:
            begun = loop.time()
            await asyncio.sleep(LAG_INTERVAL)
            self.lag = max(loop.time() - begun - LAG_INTERVAL, self.lag * 0.9)
            metrics.loop_lag.set(self.lag)
