"""The Lease that makes one operator the leader, as the API server stores it."""

from __future__ import annotations

import socket
import time
from datetime import UTC, datetime
from secrets import token_hex
from typing import Any, Final

import msgspec

from driftstack_common.kube.client import Body
from driftstack_common.times import now

NAME: Final = "driftstack-operator"


class Lease(msgspec.Struct, frozen=True, kw_only=True):
    """One version of it.

    Attributes:
        version: its resourceVersion, for a write that must not miss another one.
        holder: who leads, empty when it was released.
        seconds: how long it holds after each renewal.
        transitions: how often it changed hands.
    """

    version: int
    holder: str
    seconds: int
    transitions: int


def read_lease(body: Body) -> Lease:
    """Return what matters of the object."""
    spec = body.get("spec") or {}
    return Lease(
        version=int(body["metadata"]["resourceVersion"]),
        holder=spec.get("holderIdentity") or "",
        seconds=spec.get("leaseDurationSeconds") or 1,
        transitions=spec.get("leaseTransitions") or 0,
    )


def taken(identity: str, seconds: int, transitions: int) -> dict[str, Any]:
    """Return the spec that a new holder writes."""
    moment = _micro(now())
    return {
        "holderIdentity": identity,
        "leaseDurationSeconds": seconds,
        "leaseTransitions": transitions,
        "acquireTime": moment,
        "renewTime": moment,
    }


def renewed(seconds: int) -> dict[str, Any]:
    """Return what the holder writes to keep it; the times are for people, nobody else's clock is trusted."""
    return {"leaseDurationSeconds": seconds, "renewTime": _micro(now())}


def released() -> dict[str, Any]:
    """Return what the holder writes when it goes."""
    return {"holderIdentity": None, "leaseDurationSeconds": 1, "renewTime": _micro(now())}


def own_identity() -> str:
    """Return a name for this process: its pod's, and something that a restart in the same pod changes."""
    return f"{socket.gethostname()}_{token_hex(4)}"


def steady() -> float:
    """Return seconds that go on while the process, or the whole machine, is stopped."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


def _micro(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
