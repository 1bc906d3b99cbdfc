"""Writes down what an ApiKey needs to outlive its cluster: its public id; and when it was revoked."""

from __future__ import annotations

from typing import Any

from driftstack_common.kinds import ApiKey
from driftstack_common.kube.client import KubeClient
from driftstack_common.kube.errors import NotFound
from driftstack_common.names import ANNOTATION_ID
from driftstack_common.times import format_time, now
from driftstack_operator.store import Store


class Keys:
    """Reconciles keys, each by its uid.

    Args:
        kube: client to write with.
        store: what was observed.
    """

    def __init__(self, kube: KubeClient, store: Store) -> None:
        self._kube = kube
        self._store = store

    async def reconcile(self, uid: str) -> None:
        """Write what is missing; of another version than the one seen, nothing."""
        key = self._store.keys.by_uid(uid)
        if key is None or not is_incomplete(key):
            return
        meta = key.metadata
        metadata: dict[str, Any] = {"uid": meta.uid, "resourceVersion": meta.resource_version}
        patch: dict[str, Any] = {"metadata": metadata}
        if ANNOTATION_ID not in meta.annotations:
            metadata["annotations"] = {ANNOTATION_ID: key.id}
        if _is_undated(key):
            patch["spec"] = {"revokedAt": format_time(now())}
        try:
            self._store.keys.apply(await self._kube.merge_patch(ApiKey.KIND, meta.namespace, meta.name, patch))
        except NotFound:
            return


def is_incomplete(key: ApiKey) -> bool:
    """Whether something is to be written down."""
    return key.metadata.deletion_timestamp is None and (
        ANNOTATION_ID not in key.metadata.annotations or _is_undated(key)
    )


def _is_undated(key: ApiKey) -> bool:
    return key.spec.revoked and key.spec.revoked_at is None
