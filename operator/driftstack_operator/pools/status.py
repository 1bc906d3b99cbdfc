"""What a pool's status says, and when it is written. Pure.

Every claim changes a number in it. Written each time it would cost each session a write; so what the pool's user
asked for is told at once, and what sessions do to it after a while.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

import msgspec

from driftstack_common.kinds import Condition, Pool, PoolStatus
from driftstack_common.names import LABEL_POOL, LABEL_STATE, STATE_WARM
from driftstack_common.times import format_time
from driftstack_operator.reasons import GAVE_WAY, LONGEST_MESSAGE, End, Reason

READY: Final = "Ready"
PACE: Final = 1.0
"""Seconds between two writes, at least."""
LAZY: Final = 15.0
"""Seconds that numbers may be old that sessions have changed."""
DIP: Final = 10.0
"""Seconds for which a full pool may lack pods, as it does after each claim, and still be called Ready."""

_EMPTY: Final = {f.encode_name: f.default for f in msgspec.structs.fields(PoolStatus) if f.name != "conditions"}


class Count(msgspec.Struct, frozen=True, kw_only=True):
    """What is counted of a pool.

    Attributes:
        short_for: since when it has lacked warm pods, seconds.
        gave_way: the scheduler's words about a session's pod that warm ones gave way to, since all were there.
    """

    desired: int
    ready: int
    starting: int
    claimed: int
    hits: int
    misses: int
    short_for: float = 0.0
    gave_way: str = ""


def status_of(pool: Pool, count: Count, problem: End | None, moment: datetime) -> PoolStatus:
    """Return the status; problem is what keeps warm pods from starting."""
    served = count.hits + count.misses
    return PoolStatus(
        observed_generation=pool.metadata.generation,
        replicas=count.ready + count.starting,
        desired_replicas=count.desired,
        ready_replicas=count.ready,
        starting_replicas=count.starting,
        claimed_replicas=count.claimed,
        hits=count.hits,
        misses=count.misses,
        hit_rate=f"{100 * count.hits // served}%" if served else "",
        selector=f"{LABEL_POOL}={pool.metadata.name},{LABEL_STATE}={STATE_WARM}",
        conditions=[_ready(pool, count, problem, moment)],
    )


def due_in(shown: PoolStatus, status: PoolStatus, since_written: float) -> float | None:
    """Return in how many seconds to write, at most 0 for now; None while what is shown is right."""
    if shown == status:
        return None
    urgent = _asked(shown) != _asked(status)
    return (PACE if urgent else LAZY) - since_written


def body_of(status: PoolStatus) -> dict[str, Any]:
    """Return a merge patch of the whole status: what is 0 now overwrites what was not."""
    return {**_EMPTY, **msgspec.to_builtins(status)}


def _asked(status: PoolStatus) -> tuple[Any, ...]:
    said = [(c.status, c.reason, c.message) for c in status.conditions]
    return status.observed_generation, status.desired_replicas, said


def _ready(pool: Pool, count: Count, problem: End | None, moment: datetime) -> Condition:
    before = next((c for c in pool.status.conditions if c.type == READY), None)
    full = count.ready >= count.desired
    dips = before is not None and before.status == "True" and count.short_for < DIP
    same_task = pool.status.desired_replicas == count.desired
    if full or (dips and same_task and problem is None and not count.gave_way):
        status, reason, message = "True", "Warm", ""
        if not count.desired:
            reason, message = "NoneWanted", "every session starts a pod of its own"
    elif count.gave_way and (problem is None or problem.reason is Reason.UNSCHEDULABLE):
        message = f"warm pods gave way to pods of sessions that no node had room for: {count.gave_way}"
        status, reason, message = "False", GAVE_WAY, message[:LONGEST_MESSAGE]
    elif problem is not None:
        status, reason, message = "False", problem.reason.value, problem.message
    else:
        status, reason, message = "False", "Starting", "warm pods are starting"
    kept = before is not None and before.status == status
    return Condition(
        type=READY,
        status=status,
        reason=reason,
        message=message,
        last_transition_time=before.last_transition_time if before is not None and kept else format_time(moment),
        observed_generation=pool.metadata.generation,
    )
