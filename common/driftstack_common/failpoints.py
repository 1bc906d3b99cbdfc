"""Named points at which a test has the process stop: killed, as by the kernel, or frozen.

Only a test setting makes a component reach them at all; see docs/operations/chaos.md.
"""

from __future__ import annotations

import os
import signal
from enum import StrEnum
from typing import Final

import msgspec

from driftstack_common.logging import get_logger

logger = get_logger(__name__)


class Effect(StrEnum):
    """What happens at an armed point."""

    KILL = "kill"
    FREEZE = "freeze"

    @property
    def signal(self) -> signal.Signals:
        """What the process sends itself."""
        return signal.SIGKILL if self is Effect.KILL else signal.SIGSTOP


class Arm(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a point is armed: `skip` passes go by before it takes effect, once."""

    effect: Effect = Effect.KILL
    skip: int = 0


class Failpoints:
    """The points of one process; nothing is armed at first."""

    def __init__(self) -> None:
        self._armed: dict[str, Arm] = {}
        self.reached: dict[str, int] = {}
        """How often each point was passed."""

    def arm(self, name: str, arm: Arm) -> None:
        """Have the point take effect when it is next reached."""
        self._armed[name] = arm

    def reach(self, name: str) -> None:
        """Pass a point, or not."""
        self.reached[name] = self.reached.get(name, 0) + 1
        arm = self._armed.get(name)
        if arm is None:
            return
        if arm.skip > 0:
            self._armed[name] = msgspec.structs.replace(arm, skip=arm.skip - 1)
            return
        del self._armed[name]
        logger.warning("failpoint", name=name, effect=arm.effect.value)
        os.kill(os.getpid(), arm.effect.signal)


BEFORE: Final = "before"
AFTER: Final = "after"


class WritePoints:
    """Makes two points of every write to the API server; given to KubeClient as its guard.

    They are called `before-create-pods`, `after-patch-browsersessions-status` and so on.
    """

    def __init__(self, failpoints: Failpoints) -> None:
        self._failpoints = failpoints

    def before(self, write: str) -> None:
        """A write is about to be sent."""
        self._failpoints.reach(f"{BEFORE}-{write}")

    def after(self, write: str) -> None:
        """A write was accepted."""
        self._failpoints.reach(f"{AFTER}-{write}")
