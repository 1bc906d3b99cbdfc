"""One deadline for a step of several commands, handed down."""

from __future__ import annotations

import time

from driftstack_agent.errors import StepError
from driftstack_common.protocol import ProblemCode


class Deadline:
    """A step's timeout_ms, running from its construction."""

    def __init__(self, timeout_ms: int) -> None:
        self.timeout_ms = timeout_ms
        self._started = time.monotonic()

    @property
    def elapsed_ms(self) -> int:
        """Whole milliseconds since the start."""
        return round((time.monotonic() - self._started) * 1000)

    @property
    def left(self) -> float:
        """Seconds left, never negative: 0 when it has passed."""
        return max(self._started + self.timeout_ms / 1000 - time.monotonic(), 0)

    def problem(self, what: str) -> StepError:
        """Return the timeout to raise: `what` was not done in time."""
        message = f"{what} took longer than {self.timeout_ms} ms"
        return StepError(ProblemCode.TIMEOUT, message, timeout_ms=self.timeout_ms)
