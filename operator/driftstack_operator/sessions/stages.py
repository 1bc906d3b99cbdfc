"""The stages of a start, from what the operator saw and what the agent tells. Pure."""

from __future__ import annotations

from datetime import datetime, timedelta

import msgspec

from driftstack_common.kinds.session import Stages
from driftstack_common.protocol import Reached
from driftstack_common.times import format_time


class Moments(msgspec.Struct, frozen=True, kw_only=True):
    """When the operator saw what; None it has not. Names are those of `status.stages`.

    Attributes:
        own: the pod was made for the session.
    """

    own: bool = True
    accepted: datetime
    pod_created: datetime | None = None
    pod_scheduled: datetime | None = None
    pod_running: datetime | None = None
    claimed: datetime | None = None
    ready: datetime


def stages(seen: Moments, reached: Reached, begun: datetime) -> dict[str, datetime]:
    """Return the moment of each stage that is known; those of a warm pod lie before the session and are left out.

    Args:
        reached: what the agent said with its claim, as of `seen.claimed`.
        begun: when the session was created.
    """
    moments: dict[str, datetime | None] = msgspec.structs.asdict(seen)
    own = moments.pop("own")
    if seen.claimed is not None:
        ages: dict[str, float | None] = msgspec.structs.asdict(reached)
        for stage, age in ages.items():
            moments[stage] = None if age is None else seen.claimed - timedelta(seconds=age)
    told = {stage: moment for stage, moment in moments.items() if moment is not None}
    return {stage: moment for stage, moment in told.items() if own or moment >= begun or stage == "accepted"}


def shown(moments: dict[str, datetime]) -> Stages:
    """Return them as the status has them."""
    return Stages(**{stage: format_time(moment) for stage, moment in moments.items()})
