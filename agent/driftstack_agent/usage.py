"""How many steps have succeeded, by day: the agent lives as long as its session, and every step passes it."""

from __future__ import annotations

from typing import Literal

from driftstack_common.kinds import StepCounts
from driftstack_common.protocol import CaptureKind
from driftstack_common.times import now
from driftstack_common.usage import counted, day_of

Counts = Literal["navigate", "interact", "wait", "state_capture", "screenshot_capture"]


class StepCounter:
    """Counts steps.

    Attributes:
        days: steps by date, UTC by this node's clock.
    """

    def __init__(self) -> None:
        self.days: dict[str, StepCounts] = {}

    def note(self, kind: Counts) -> None:
        """Take note of a step that has just succeeded."""
        self.days = counted(self.days, day_of(now()), kind)


def capture_counts(kind: CaptureKind) -> Counts:
    """Return what a capture counts as: a picture of the page, or what is in it."""
    return "state_capture" if kind == "dom_snapshot" else "screenshot_capture"
