"""Whether the operator is well: what the probes answer."""

from __future__ import annotations

import asyncio
from typing import Final

from driftstack_operator.metrics import Metrics

LAG_INTERVAL: Final = 0.5
WORST_LAG: Final = 10.0
"""Seconds that the event loop may be late before the process counts as stuck."""


class Health:
    """Collected from all parts.

    Attributes:
        primed: the first LISTs are in the store.
        blind: kinds whose watch did not bring what a LIST showed.
        lag: how late the event loop was lately, seconds.
    """

    def __init__(self) -> None:
        self.primed = False
        self.blind: set[str] = set()
        self.lag = 0.0

    def problems(self) -> list[str]:
        """Return why the process should be restarted; empty when all is well.

        An API server that can't be reached is no such reason: a restart would not help.
        """
        found = [f"the watch of {kind} brings nothing" for kind in sorted(self.blind)]
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
