"""What this operator remembers of a session beyond its objects; all of it can be lost and found again.

A new operator starts with what the LISTs say (`recorded`), sees every session for the first time (`version`,
`seen`), and asks the agents again (`claim`).
"""

from __future__ import annotations

import math
import time
from datetime import datetime

import msgspec

from driftstack_common.kinds import Session, StepCounts
from driftstack_common.protocol import Claimed
from driftstack_common.times import now
from driftstack_operator.pods.view import PodView
from driftstack_operator.reasons import End
from driftstack_operator.sessions.decide import Refused
from driftstack_operator.sessions.ready import Observations


class Track(msgspec.Struct, kw_only=True):
    """One session's.

    Attributes:
        order: place in the order of admission; the version in which the session was first seen.
        seen, seen_at: when that was, monotonic seconds and time of day.
        reserved: its pod is being made, so it holds a slot of its account.
        cold: the API server refused to give it a warm pod, so that it has one made.
        pod_created_at, pod_scheduled_at, pod_running_at, claimed_at: when those stages were observed.
        asked_pod, asked_since: the pod, by uid, whose agent is or was asked to take it; since when (monotonic).
        problem: why its pod could not be created.
        gave_way: the last warm pod that went to make room for its own.
        gave_way_at: when one was last asked for, or last seen to be going (monotonic).
        given_up: uids of pods that were one too many, and deleted: what becomes of them is not its end.
        readied: what calls it ready, from before that is written until it is counted.
        lost_pod: its pod as it last looked, once it is gone.
        leaving_since: when its pod was first seen to be deleted (monotonic).
        ready_refusals, ready_refused: how often the API server refused to call it ready; that it will.
        told_ready, told_end: the Event is posted.
        told_endpoints: the deliveries of its end are stored.
        record_tried: a record was sent and no answer came.
        no_records_since: since when the cluster is known to know no records (monotonic).
        busy_step, busy_since: the step that is marked; since when, or when the agent was last asked (monotonic).
        idle_step: the step that the agent does not run.
        usage: steps by date, when its agent last told them.
        answered_at: when its agent last said that it lives, though its node is silent (monotonic).
    """

    order: int
    seen: float = msgspec.field(default_factory=time.monotonic)
    seen_at: datetime = msgspec.field(default_factory=now)
    reserved: bool = False
    cold: bool = False
    pod_created_at: datetime | None = None
    pod_scheduled_at: datetime | None = None
    pod_running_at: datetime | None = None
    claimed_at: datetime | None = None
    lost_pod: PodView | None = None
    claim: Claimed | Refused | None = None
    asked_pod: str = ""
    asked_since: float | None = None
    problem: End | None = None
    gave_way: PodView | None = None
    gave_way_at: float = -math.inf
    given_up: set[str] = set()
    readied: Observations | None = None
    verdict: End | None = None
    recorded: bool = False
    record_tried: bool = False
    no_records_since: float | None = None
    ready_refusals: int = 0
    ready_refused: End | None = None
    told_ready: bool = False
    told_end: bool = False
    told_endpoints: bool = False
    leaving_since: float | None = None
    busy_step: int = -1
    busy_since: float = 0.0
    idle_step: int = -1
    usage: dict[str, StepCounts] = {}
    answered_at: float | None = None

    def waits_for_records(self, seconds: float) -> bool:
        """Whether to wait for the records' CRD: it may be on its way, for so long from the first call on."""
        if self.no_records_since is None:
            self.no_records_since = time.monotonic()
        return time.monotonic() - self.no_records_since < seconds


class Tracks:
    """The tracks of all sessions, by uid."""

    def __init__(self) -> None:
        self._tracks: dict[str, Track] = {}

    def __len__(self) -> int:
        return len(self._tracks)

    def begin(self, uid: str, order: int) -> Track:
        """Return the session's track; the first call makes it."""
        track = self._tracks.get(uid)
        if track is None:
            track = self._tracks[uid] = Track(order=order)
        return track

    def of(self, session: Session) -> Track:
        """Return the track of a session that is known."""
        return self.begin(session.uid, int(session.metadata.resource_version or 0))

    def get(self, uid: str) -> Track | None:
        """Return the session's track, if there is one."""
        return self._tracks.get(uid)

    def clear(self) -> None:
        """Forget all of them."""
        self._tracks.clear()

    def drop(self, uid: str) -> None:
        """Forget a session."""
        self._tracks.pop(uid, None)
