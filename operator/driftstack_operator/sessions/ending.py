"""How a session leaves: record, pods, object, finalizer, in that order, each step safe to repeat.

After any crash the next operator finds either no record (and decides anew) or the record (and finishes).
"""

from __future__ import annotations

from typing import Final

import msgspec

from driftstack_common.kinds import Record, Session, to_body
from driftstack_common.kube.client import POD, Body, KubeClient
from driftstack_common.kube.errors import AlreadyExists, Conflict, KubeError, NamespaceTerminating, NotFound
from driftstack_common.logging import get_logger
from driftstack_common.names import FINALIZER
from driftstack_common.times import now
from driftstack_operator.pods.view import PodView
from driftstack_operator.reasons import End
from driftstack_operator.sessions.archive import build_record
from driftstack_operator.store import Store

FORCED: Final = 0
"""Grace, seconds, for a pod on a lost node: nobody is there to stop it gently."""

logger = get_logger(__name__)


class Ending:
    """The writes of an end.

    Args:
        kube: client to write with.
        store: learns what each write answered.
    """

    def __init__(self, kube: KubeClient, store: Store) -> None:
        self._kube = kube
        self._store = store

    async def record(self, session: Session, ended: End, pod: PodView | None, default_archetype: str) -> str | None:
        """Write the session's record; return its uid, or None when there is one already or can be none."""
        record = build_record(session, ended, now(), pod=pod, default_archetype=default_archetype)
        namespace = session.metadata.namespace
        try:
            stored = await self._store_record(record)
        except AlreadyExists:
            return None
        except NamespaceTerminating:
            logger.warning(
                "no record: namespace goes", session=session.uid, namespace=namespace, reason=ended.reason
            )
            return None
        return str(stored["metadata"]["uid"])

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
        except Conflict:  # another pod has the name now; it is not the one that was to go
            self._store.pods.remove(pod.uid)
        else:
            if answer.get("kind") == POD.name:
                self._store.pods.apply(answer)

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
            await self._kube.json_patch(Session.KIND, meta.namespace, meta.name, _without_finalizer(session))
        except NotFound:
            return True
        return len(meta.finalizers) == 1


def _without_finalizer(session: Session) -> list[Body]:
    at = f"/metadata/finalizers/{session.metadata.finalizers.index(FINALIZER)}"
    return [
        {"op": "test", "path": "/metadata/uid", "value": session.uid},
        {"op": "test", "path": at, "value": FINALIZER},
        {"op": "remove", "path": at},
    ]
