"""When this pod's start reached its stages, so that a slow start can be told where it was slow.

Told as how long ago that was: the clocks of nodes differ.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Final

from driftstack_common.protocol import Reached

HOSTS: Final = Path("/etc/hosts")
"""The kubelet writes it once the pod's sandbox is up, just before the container is made."""
STAT: Final = Path("/proc/self/stat")
_TICKS: Final = os.sysconf("SC_CLK_TCK")
_AFTER_NAME: Final = 19
"""Place of the start time among the fields of `stat` behind the process's name."""


def sandbox_age() -> float | None:
    """Return how long ago the pod's sandbox was up, seconds; None when nothing tells."""
    try:
        return max(0.0, time.time() - HOSTS.stat().st_mtime)
    except OSError:
        return None


def process_age(stat: str) -> float:
    """Return how long ago the process of this `stat` began, seconds, to a hundredth."""
    fields = stat.rpartition(")")[2].split()
    return max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - int(fields[_AFTER_NAME]) / _TICKS)


class Stages:
    """The stages of one start."""

    def __init__(self) -> None:
        self._reached: dict[str, float] = {}

    def reached(self, stage: str) -> None:
        """Note that a stage (see protocol.Reached) is reached now."""
        self._reached[stage] = time.monotonic()

    def ago(self) -> Reached:
        """Return how long ago each was."""
        ages = {stage: round(time.monotonic() - moment, 3) for stage, moment in self._reached.items()}
        sandbox = sandbox_age()
        if sandbox is not None:
            ages["sandbox"] = round(sandbox, 3)
        return Reached(container=round(process_age(STAT.read_text()), 3), **ages)
