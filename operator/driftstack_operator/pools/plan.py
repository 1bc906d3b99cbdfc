"""What to do with a pool's pods: how many to start, which to remove. Pure.

A refill costs what a session's start costs, on the same nodes. So it waits until no session is starting and none
has just come; under a load that never pauses it goes on one pod at a time, since cold starts would cost more. Where
nodes are full, sessions come first.
"""

from __future__ import annotations

import math
from enum import StrEnum
from typing import Final

import msgspec

from driftstack_operator.pods.view import PodView

AT_ONCE: Final = 2
"""Warm pods that start at once, at least; one per node where there are more nodes."""
REPLACED_AT_ONCE: Final = 0.1
"""Share of a pool's pods that are beyond their number while old ones are replaced; at least one pod."""
LOOK_AGAIN: Final = 0.1
LOOK_FOR_ROOM: Final = 1.0


class Cause(StrEnum):
    """Why a warm pod is removed."""

    FAILED = "failed"
    OUTDATED = "outdated"
    SURPLUS = "surplus"
    GAVE_WAY = "gave-way"


class Member(msgspec.Struct, frozen=True, kw_only=True):
    """A waiting pod of the pool.

    Attributes:
        ready: its agent says that it is warm.
        stale: made from another template than today's, or too old.
        failed: it has ended, went with its node, or never answered; it counts no more.
    """

    pod: PodView
    ready: bool = False
    stale: bool = False
    failed: bool = False


class Calm(msgspec.Struct, frozen=True, kw_only=True):
    """How calm it is around the pool, in seconds.

    Attributes:
        quiet_for: no session has been starting; less than 0 while one is.
        short_for: the pool has had too few pods.
        wait: quiet needed before a refill.
        patience: longest that a refill waits for quiet.
        crowded: a session's pod waits for room on a node, which no refill is to take.
        settling: the room of a pod that went may still go to one that waits for a node.
    """

    quiet_for: float = math.inf
    short_for: float = 0.0
    wait: float = 0.0
    patience: float = 0.0
    crowded: bool = False
    settling: bool = False

    @property
    def quiet(self) -> bool:
        """Whether a refill disturbs nobody."""
        return self.quiet_for >= self.wait


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """Pods to start and to remove; again is when to look again, seconds."""

    create: int = 0
    delete: tuple[tuple[PodView, Cause], ...] = ()
    again: float | None = None


def plan(members: list[Member], desired: int, calm: Calm, *, nodes: int = 1, blocked_for: float = 0.0) -> Plan:
    """Return what brings the pool closer to what is desired.

    Args:
        blocked_for: seconds until pods may be started again, after some that failed.
    """
    alive = [m for m in members if not m.failed]
    delete = [(m.pod, Cause.OUTDATED) for m in alive if m.stale and not m.ready]
    ready = [m for m in alive if m.ready]
    starting = [m for m in alive if not m.ready and not m.stale]
    stale = [m for m in ready if m.stale]
    extra = min(len(stale), math.ceil(desired * REPLACED_AT_ONCE))
    homeless = any(m.pod.unschedulable is not None for m in starting)
    beyond = _surplus(ready, starting, desired, extra)
    if homeless and not beyond and not calm.settling:  # the replacement fits nowhere besides an old one
        beyond = [(m.pod, Cause.OUTDATED) for m in stale[:1]]
    delete += beyond
    lacking = desired - len(ready) - len(starting)
    wanted = min(desired + len(stale) - len(ready) - len(starting), lacking + extra)
    if wanted <= 0:
        return Plan(delete=tuple(delete), again=LOOK_FOR_ROOM if homeless and stale else None)
    if blocked_for > 0:
        return Plan(delete=tuple(delete), again=blocked_for)
    if calm.crowded:
        return Plan(delete=tuple(delete), again=LOOK_FOR_ROOM)
    if homeless:  # the scheduler has enough to try with
        return Plan(delete=tuple(delete), again=LOOK_FOR_ROOM if stale else None)
    room = _room(calm, lacking, nodes) - len(starting)
    create = max(0, min(wanted, room))
    return Plan(create=create, delete=tuple(delete), again=LOOK_AGAIN if room <= 0 and not calm.quiet else None)


def _room(calm: Calm, lacking: int, nodes: int) -> int:
    """Return how many pods may be starting at once."""
    if lacking <= 0:  # only old ones are to be replaced, which can wait
        return 1 if calm.quiet else 0
    if calm.quiet:
        return max(AT_ONCE, nodes)
    return 1 if calm.short_for >= calm.patience else 0


def _surplus(ready: list[Member], starting: list[Member], desired: int, extra: int) -> list[tuple[PodView, Cause]]:
    """Return those beyond their number: first those that are not warm yet, then the old ones."""
    unready = max(0, min(len(starting), len(ready) + len(starting) - desired - extra))
    beyond = [(m.pod, Cause.SURPLUS) for m in starting[len(starting) - unready :]]
    oldest = sorted(ready, key=lambda m: not m.stale)
    return beyond + [
        (m.pod, Cause.OUTDATED if m.stale else Cause.SURPLUS) for m in oldest[: max(0, len(ready) - desired)]
    ]
