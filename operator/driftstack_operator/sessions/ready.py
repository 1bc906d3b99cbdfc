"""The status of a session that can be used, and the patch that calls a session idle again. Pure."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

import msgspec

from driftstack_common.kinds import Browser, Condition, Phase, Session, SessionStatus
from driftstack_common.kube.client import Body
from driftstack_common.names import ANNOTATION_CREATED_AT
from driftstack_common.protocol import Claimed
from driftstack_common.times import format_time
from driftstack_operator.pods.view import PodView
from driftstack_operator.sessions.stages import Moments, shown, stages

PROMPT: Final = timedelta(seconds=1.25)
"""A session that was seen this soon after the second of its creation was seen as it came: watches take far less
than the quarter of a second beyond what the API server cuts off."""


class Observations(msgspec.Struct, frozen=True, kw_only=True):
    """What is known when the agent has taken a session.

    Attributes:
        took: seconds since it was first asked to.
    """

    pod: PodView
    slug: str
    claimed: Claimed
    moments: Moments
    took: float | None = None


def begun_at(session: Session, seen_at: datetime) -> datetime:
    """Return when the session was created, as finely as is known.

    The facade says it to the millisecond. The API server keeps whole seconds: with its word alone, the first
    sight is the finer one, unless the session had waited for an operator by then.
    """
    stored_at = session.metadata.creation_timestamp
    if ANNOTATION_CREATED_AT in session.metadata.annotations:
        return session.created_at
    return seen_at if stored_at is None or seen_at - stored_at < PROMPT else stored_at


def ready_status(session: Session, known: Observations) -> SessionStatus:
    """Return the one status that is written during a session's start."""
    ready = format_time(known.moments.ready)
    begun = begun_at(session, known.moments.accepted)
    took = max(0.0, (known.moments.ready - begun).total_seconds())
    return SessionStatus(
        phase=Phase.READY,
        archetype=known.slug,
        browser=Browser(
            pod=known.pod.name,
            node=known.pod.node,
            address=known.pod.address,
            token_key=known.pod.token_key,
            version=known.claimed.browser,
        ),
        conditions=[
            Condition(
                type="Ready",
                status="True",
                reason="BrowserAnswers",
                message="the agent has taken the session",
                last_transition_time=ready,
            ),
            _sandboxed(known.claimed, ready),
        ],
        last_transition_time=ready,
        ready_in=f"{took:.2f}s",
        pool="hit" if known.pod.pooled else "miss",
        stages=shown(stages(known.moments, known.claimed.reached, begun)),
    )


def idle_patch(session: Session, moment: datetime) -> list[Body]:
    """Return the JSON patch busy -> ready of the step that is marked now, and of no other."""
    return [
        {"op": "test", "path": "/metadata/uid", "value": session.uid},
        {"op": "test", "path": "/status/phase", "value": Phase.BUSY.value},
        {"op": "test", "path": "/status/step", "value": session.status.step},
        {"op": "replace", "path": "/status/phase", "value": Phase.READY.value},
        {"op": "add", "path": "/status/lastTransitionTime", "value": format_time(moment)},
    ]


def _sandboxed(claimed: Claimed, moment: str) -> Condition:
    proven = claimed.sandbox is not None and claimed.sandbox.proven
    return Condition(
        type="Sandboxed",
        status="True" if proven else "False",
        reason="Proven" if proven else "NotProven",
        message="renderers have a user namespace and a seccomp filter of their own" if proven else "",
        last_transition_time=moment,
    )
