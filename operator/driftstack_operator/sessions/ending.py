"""How a session leaves: record, pods, deliveries, Event, object, finalizer, in that order, each safe to repeat.

After any crash the next operator finds either no record (and decides anew) or the record (and finishes).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from driftstack_common.kinds import Record, Session, StepCounts, from_body, to_body
from driftstack_common.kube.client import NAMESPACE, POD, Body, KubeClient
from driftstack_common.kube.errors import (
    AlreadyExists,
    Conflict,
    Forbidden,
    KindGone,
    KubeError,
    NamespaceTerminating,
    NotFound,
    Unreachable,
)
from driftstack_common.logging import get_logger
from driftstack_common.names import DEFAULT_ARCHETYPE, FINALIZER
from driftstack_common.times import now
from driftstack_common.webhooks.events import session_ended
from driftstack_operator.events import Recorder, end_event
from driftstack_operator.finalizers import dropping
from driftstack_operator.metrics import Metrics
from driftstack_operator.pods.view import PodView
from driftstack_operator.reasons import End
from driftstack_operator.sessions.archive import build_record
from driftstack_operator.sessions.tracks import Track
from driftstack_operator.store import Store
from driftstack_operator.webhooks.outbox import Outbox

PATIENCE: Final = 10.0
"""Seconds that a session waits for a cluster that doesn't know records."""
FORCED: Final = 0
"""Grace, seconds, for a pod on a lost node: nobody is there to stop it gently."""

logger = get_logger(__name__)


class Ending:
    """The writes of an end.

    Args:
        kube: client to write with.
        store: learns what each write answered.
        recorder, metrics: told of each end.
        outbox: of the present term; stores the deliveries of an end.
    """

    def __init__(
        self,
        kube: KubeClient,
        store: Store,
        recorder: Recorder,
        metrics: Metrics,
        outbox: Callable[[], Outbox],
    ) -> None:
        self._kube = kube
        self._outbox = outbox
        self._store = store
        self._recorder = recorder
        self._metrics = metrics

    async def archive(
        self,
        session: Session,
        ended: End,
        track: Track,
        *,
        pod: PodView | None,
        slug: str,
        usage: dict[str, StepCounts],
    ) -> Record | None:
        """Write the session's record; return it, or None when there is one already or can be none.

        An end counts where its record was made: here, also when the answer was lost, and not before a crash.
        """
        archetype = slug or DEFAULT_ARCHETYPE
        record = build_record(session, ended, now(), pod=pod, default_archetype=archetype, usage=usage)
        stored: Body | None = None
        ours = True
        try:
            stored = await self._store_record(record)
        except AlreadyExists:
            ours = track.record_tried
        except NamespaceTerminating:
            namespace = session.metadata.namespace
            logger.warning("no record: namespace goes", session=session.uid, namespace=namespace)
        except KindGone:
            if track.waits_for_records(PATIENCE):
                raise
            logger.warning("no record: their CRD is gone", session=session.uid, reason=ended.reason)
        except Unreachable:
            track.record_tried = True
            raise
        track.recorded = True
        if ours:
            self._metrics.ended.labels(ended.phase.value, ended.reason.value).inc()
            logger.info("session ended", session=session.uid, phase=ended.phase.value, reason=ended.reason.value)
        return from_body(Record, stored) if stored is not None else None

    async def deliver(self, session: Session, record: Record | None, track: Track) -> Record | None:
        """Store the deliveries of the end, unless this operator has; return the record if it was looked at.

        Args:
            record: None looks for it, if anybody is to be told.
        """
        namespace = session.metadata.namespace or ""
        if not track.told_endpoints and self._outbox().listens(namespace):
            record = record or await self._stored(session)
            if record is not None:
                await self._outbox().tell(namespace, session_ended(record))
        track.told_endpoints = True
        return record

    async def tell(self, session: Session, record: Record | None, track: Track) -> None:
        """Post the Event of the end as its record tells it, unless this operator has.

        Args:
            record: None looks for it.
        """
        if track.told_end:
            return
        record = record or await self._stored(session)
        if record is not None:
            await self._recorder.post(end_event(record))
        track.told_end = True

    async def _stored(self, session: Session) -> Record | None:
        try:
            return from_body(Record, await self._kube.get(Record.KIND, session.metadata.namespace, session.uid))
        except NotFound:  # or their kind is gone
            return None

    async def _store_record(self, record: Record) -> Body:
        """Create the record; without the creator's metadata where those leave no room for the rest of it."""
        namespace = record.metadata.namespace
        try:
            return await self._kube.create(Record.KIND, namespace, to_body(record))
        except KubeError as error:
            if not error.too_large or record.spec.metadata is None:
                raise
        logger.warning("record without metadata: too large", session=record.metadata.name, namespace=namespace)
        smaller = msgspec.structs.replace(record, spec=msgspec.structs.replace(record.spec, metadata=None))
        return await self._kube.create(Record.KIND, namespace, to_body(smaller))

    async def delete_pod(self, pod: PodView, *, lost: bool = False) -> None:
        """Delete this very pod, if it is still there."""
        try:
            answer = await self._kube.delete(
                POD, pod.namespace, pod.name, uid=pod.uid or None, grace_seconds=FORCED if lost else None
            )
        except NotFound:
            self._store.pods.remove(pod.uid)
        except Forbidden:  # the right to delete pods goes with their namespace
            if not await self._namespace_goes(pod.namespace):
                raise
            self._store.pods.remove(pod.uid)
        except Conflict:  # another pod has the name now; it is not the one that was to go
            self._store.pods.remove(pod.uid)
        else:
            if answer.get("kind") == POD.name:
                self._store.pods.apply(answer)

    async def _namespace_goes(self, name: str) -> bool:
        """Whether a namespace is gone, or is being deleted with all that is in it."""
        try:
            namespace = await self._kube.get(NAMESPACE, None, name)
        except NotFound:
            return True
        return "deletionTimestamp" in namespace["metadata"]

    async def delete_session(self, session: Session) -> Session | None:
        """Delete the object; return what it is now, None when it is gone."""
        meta = session.metadata
        try:
            answer = await self._kube.delete(Session.KIND, meta.namespace, meta.name, uid=meta.uid)
        except (NotFound, Conflict):
            return None
        if answer.get("kind") != Session.KIND.name:  # a Status: nothing held it, so it is gone
            return None
        return self._store.sessions.apply(answer) or self._store.sessions.by_uid(meta.uid)

    async def release(self, session: Session) -> bool:
        """Drop the finalizer; return whether the object is gone by that.

        Raises:
            Invalid: the finalizers changed meanwhile; look again.
        """
        meta = session.metadata
        if FINALIZER not in meta.finalizers:
            return not meta.finalizers
        try:
            patch = dropping(FINALIZER, uid=meta.uid, finalizers=meta.finalizers)
            await self._kube.json_patch(Session.KIND, meta.namespace, meta.name, patch)
        except NotFound:
            return True
        return len(meta.finalizers) == 1
