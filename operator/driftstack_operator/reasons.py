"""Why sessions end: the closed set that status, records, events and metrics use (docs/reference/lifecycle.md)."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from driftstack_common.kinds import Phase

LONGEST_MESSAGE = 1024
"""Characters of a message that are kept; messages come from agents and kubelets, and records last."""
GAVE_WAY = "GaveWay"
"""Reason of a pool's condition and Event: its warm pods made room for a session's."""


class Reason(StrEnum):
    """One word per cause."""

    # destroyed
    DELETED = "Deleted"
    IDLE_TIMEOUT = "IdleTimeout"
    MAX_DURATION = "MaxDuration"
    # errored: never started
    NO_ACCOUNT = "NoAccount"
    UNKNOWN_ARCHETYPE = "UnknownArchetype"
    UNKNOWN_POOL = "UnknownPool"
    CONCURRENCY_LIMIT = "ConcurrencyLimit"
    IMAGE_UNAVAILABLE = "ImageUnavailable"
    UNSCHEDULABLE = "Unschedulable"
    SANDBOX_MISSING = "SandboxMissing"
    START_FAILED = "StartFailed"
    START_TIMEOUT = "StartTimeout"
    # errored: the browser or its pod went away
    BROWSER_CRASHED = "BrowserCrashed"
    OUT_OF_MEMORY = "OutOfMemory"
    TERMINATED = "Terminated"
    POD_FAILED = "PodFailed"
    POD_DELETED = "PodDeleted"
    EVICTED = "Evicted"
    NODE_LOST = "NodeLost"


NORMAL = frozenset({Reason.DELETED, Reason.IDLE_TIMEOUT, Reason.MAX_DURATION})
"""Reasons of a normal end; every other is an error."""


class End(msgspec.Struct, frozen=True):
    """That a session has ended, and why."""

    reason: Reason
    message: str = ""

    @property
    def phase(self) -> Phase:
        """Destroyed for a normal end, else errored."""
        return Phase.DESTROYED if self.reason in NORMAL else Phase.ERRORED


def end(reason: Reason, message: str) -> End:
    """Return an End with a message of bounded length."""
    return End(reason, message if len(message) <= LONGEST_MESSAGE else message[: LONGEST_MESSAGE - 1] + "…")
