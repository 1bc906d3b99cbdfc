"""Kubernetes Events about sessions: what `kubectl describe` and `kubectl get events` show.

An Event is one act of a session's life like the others: written before the next one, repeated until it is there.
Its name follows from the session and the reason, so one that is posted again after a lost answer or a crash is no
second one.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, Literal

import msgspec

from driftstack_common.kinds import Phase, Pool, Record, Session
from driftstack_common.kinds.meta import Kind
from driftstack_common.kube.client import EVENT, Body, KubeClient
from driftstack_common.kube.errors import (
    AlreadyExists,
    Forbidden,
    Invalid,
    KubeError,
    NamespaceTerminating,
    NotFound,
    QuotaExceeded,
)
from driftstack_common.logging import get_logger
from driftstack_common.names import API_VERSION
from driftstack_common.times import format_time, now
from driftstack_operator.metrics import Metrics
from driftstack_operator.pods.view import PodView
from driftstack_operator.reasons import GAVE_WAY

READY: Final = "Ready"
COMPONENT: Final = "driftstack-operator"
PATIENCE: Final = 10.0
"""Seconds for which an Event is tried again that the API server's RBAC refuses, per namespace."""
LONGEST_MESSAGE: Final = 1024
"""Characters of an Event's message that the API server takes."""

EventType = Literal["Normal", "Warning"]
logger = get_logger(__name__)


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """An Event to post.

    Attributes:
        session: uid of the session it tells of; with the reason, its name.
        kind, namespace, name, uid: the object it is about: the session, its record, or a pool.
        at: when it happened, RFC 3339.
    """

    session: str
    kind: Kind
    namespace: str
    name: str
    uid: str
    type: EventType
    reason: str
    message: str
    at: str


class Recorder:
    """Posts Events.

    Args:
        kube: client to post with.
        metrics: counts what will never be posted.
    """

    def __init__(self, kube: KubeClient, metrics: Metrics, clock: Callable[[], float] = time.monotonic) -> None:
        self._kube = kube
        self._metrics = metrics
        self._clock = clock
        self._forbidden_since: dict[str, float] = {}

    async def post(self, event: Event) -> None:
        """Post an Event that may be posted already.

        Raises:
            KubeError: it could not be posted now; try again. One that the API server will not take (its namespace
                goes, a right is missing for longer than PATIENCE, a quota on Events is used up) is counted and
                logged instead: no session waits for it.
        """
        try:
            await self._kube.create(EVENT, event.namespace, build_event(event))
        except AlreadyExists:
            pass
        except (NamespaceTerminating, NotFound, Invalid, QuotaExceeded) as error:
            self._drop(event, error)
        except Forbidden as error:
            if self._waits(event.namespace):
                raise
            return self._drop(event, error)
        self._forbidden_since.pop(event.namespace, None)

    def _waits(self, namespace: str) -> bool:
        """Whether a refusal may pass: an API server that starts refuses everybody for a moment."""
        since = self._forbidden_since.setdefault(namespace, self._clock())
        return self._clock() - since < PATIENCE

    def _drop(self, event: Event, error: KubeError) -> None:
        self._metrics.events_dropped.inc()
        logger.warning("event refused", session=event.session, reason=event.reason, error=error.message)


def ready_event(session: Session) -> Event:
    """Return the Event of a session that became ready."""
    meta, status = session.metadata, session.status
    pod = status.browser.pod if status.browser is not None else ""
    return Event(
        session=session.uid,
        kind=Session.KIND,
        namespace=meta.namespace or "",
        name=meta.name,
        uid=meta.uid,
        type="Normal",
        reason=READY,
        message=f"ready after {status.ready_in} on pod {pod}",
        at=status.stages.ready or format_time(now()),
    )


def gave_way_event(session: Session, pod: PodView, warm: PodView, pool: Pool) -> Event:
    """Return the Event of a warm pod that gave way to a session's; it is about the pool."""
    meta = pool.metadata
    whose = f"session {session.metadata.namespace}/{session.metadata.name}"
    return Event(
        session=session.uid,
        kind=Pool.KIND,
        namespace=meta.namespace or "",
        name=meta.name,
        uid=meta.uid,
        type="Warning",
        reason=GAVE_WAY,
        message=f"warm pod {warm.name} on node {warm.node} gave way to {whose}: {pod.unschedulable}",
        at=format_time(now()),
    )


def end_event(record: Record) -> Event:
    """Return the Event of a session that ended; it is about the record, which stays."""
    meta, spec = record.metadata, record.spec
    return Event(
        session=spec.session_uid,
        kind=Record.KIND,
        namespace=meta.namespace or "",
        name=meta.name,
        uid=meta.uid,
        type="Warning" if Phase(spec.phase) is Phase.ERRORED else "Normal",
        reason=spec.reason,
        message=spec.message,
        at=spec.ended_at,
    )


def build_event(event: Event) -> Body:
    """Return the Event object."""
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": f"{event.session}.{event.reason.lower()}", "namespace": event.namespace},
        "involvedObject": {
            "apiVersion": API_VERSION,
            "kind": event.kind.name,
            "namespace": event.namespace,
            "name": event.name,
            "uid": event.uid,
        },
        "type": event.type,
        "reason": event.reason,
        "message": event.message[:LONGEST_MESSAGE],
        "firstTimestamp": event.at,
        "lastTimestamp": event.at,
        "count": 1,
        "source": {"component": COMPONENT},
        "reportingComponent": COMPONENT,
        "reportingInstance": COMPONENT,
    }
