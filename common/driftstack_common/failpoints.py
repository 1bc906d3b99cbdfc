"""Named points at which a test has the process stop: killed, as by the kernel, or frozen.

Only a test setting makes a component reach them at all; see docs/operations/chaos.md.
"""

from __future__ import annotations

import os
import re
import signal
from enum import StrEnum
from typing import Any, Final

import msgspec

from driftstack_common.logging import get_logger

logger = get_logger(__name__)


KILLED: Final = 128 + signal.SIGKILL
"""Exit status of a killed process. The first process of a container can't send SIGKILL or SIGSTOP to itself."""


class Effect(StrEnum):
    """What happens at an armed point."""

    KILL = "kill"
    FREEZE = "freeze"


class Arm(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a point is armed: `skip` passes go by before it takes effect, once."""

    effect: Effect = Effect.KILL
    skip: int = 0

    @classmethod
    def parse(cls, body: bytes) -> Arm:
        """Read it from JSON; an empty body is the default. ValueError says what is wrong."""
        return msgspec.json.decode(body or b"{}", type=cls)


_NAME: Final = re.compile(r"(before|after)-[a-z/-]+")


class Failpoints:
    """The points of one process; nothing is armed at first."""

    def __init__(self) -> None:
        self._armed: dict[str, Arm] = {}
        self.reached: dict[str, int] = {}
        """How often each point was passed."""

    def arm(self, name: str, arm: Arm) -> None:
        """Have the point take effect when it is next reached; ValueError when no point can be called so."""
        if not _NAME.fullmatch(name):
            raise ValueError(f"{name!r} is no point: it has to begin with before- or after-")
        self._armed[name] = arm

    def tell(self) -> dict[str, Any]:
        """Return what was `reached`, by name, and the names of what is `armed`."""
        return {"reached": dict(self.reached), "armed": sorted(self._armed)}

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
        if arm.effect is Effect.FREEZE:
            freeze()
        else:
            os._exit(KILLED)


def freeze() -> None:
    """Stand still, event loop and all, until SIGCONT comes from outside."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCONT})
    signal.sigwait({signal.SIGCONT})
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCONT})


BEFORE: Final = "before"
AFTER: Final = "after"


class WritePoints:
    """Makes two points of every write; given to KubeClient and AgentClient as their guard.

    They are called `before-create-pods`, `after-patch-browsersessions-status`, `before-claim`, `after-step`, ...
    """

    def __init__(self, failpoints: Failpoints) -> None:
        self._failpoints = failpoints

    def before(self, write: str) -> None:
        """A write is about to be sent."""
        self._failpoints.reach(f"{BEFORE}-{write}")

    def after(self, write: str) -> None:
        """A write was accepted."""
        self._failpoints.reach(f"{AFTER}-{write}")
