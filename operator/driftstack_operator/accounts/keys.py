"""Writes down what an ApiKey needs to outlive its cluster: its public id; and when it was revoked. Tells of that.

Keys are not watched by kopf: there are many, each call made with one changes it now and then, and of all that kopf
can do this needs nothing (a millisecond for each change).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from driftstack_common.kinds import ApiKey
from driftstack_common.kube.client import KubeClient
from driftstack_common.kube.errors import NotFound
from driftstack_common.kube.reflector import Reflector
from driftstack_common.names import ANNOTATION_ID, ANNOTATION_REVOCATION_TOLD
from driftstack_common.times import format_time, now
from driftstack_common.webhooks.events import Event, key_revoked

Tell = Callable[[str, Event], Awaitable[None]]


class Keys:
    """Reconciles keys, each by `namespace/name`, for one term.

    Args:
        kube: client to watch and write with.
        touch: called with each key that lacks something.
        tell: stores the deliveries of an event in a namespace.
    """

    def __init__(self, kube: KubeClient, touch: Callable[[str], None], tell: Tell) -> None:
        self._kube = kube
        self._touch = touch
        self._tell = tell
        self._reflector = Reflector(kube, ApiKey, stored=self._seen)

    async def run(self) -> None:
        """Watch until cancelled."""
        await self._reflector.run()

    def _seen(self, _: ApiKey | None, key: ApiKey) -> None:
        if _is_incomplete(key) or _is_news(key):
            self._touch("/".join(key.key))

    async def reconcile(self, name: str) -> None:
        """Write what is missing; of another version than the one seen, nothing."""
        namespace, _, object_name = name.partition("/")
        key = self._reflector.objects.get((namespace, object_name))
        if key is None:
            return
        if _is_incomplete(key):
            await self._complete(key)
        elif key.spec.revoked_at is not None and _is_news(key):
            event = key_revoked(key.metadata.uid, key.id, key.spec.name, key.spec.revoked_at)
            await self._tell(namespace, event)
            await self._patch(key, {"annotations": {ANNOTATION_REVOCATION_TOLD: event.id}})

    async def _complete(self, key: ApiKey) -> None:
        metadata: dict[str, Any] = {}
        if not key.metadata.annotations.get(ANNOTATION_ID):
            metadata["annotations"] = {ANNOTATION_ID: key.id}
        await self._patch(key, metadata, {"revokedAt": format_time(now())} if _is_undated(key) else None)

    async def _patch(self, key: ApiKey, metadata: dict[str, Any], spec: dict[str, Any] | None = None) -> None:
        meta = key.metadata
        patch: dict[str, Any] = {
            "metadata": {**metadata, "uid": meta.uid, "resourceVersion": meta.resource_version}
        }
        if spec is not None:
            patch["spec"] = spec
        with suppress(NotFound):
            await self._kube.merge_patch(ApiKey.KIND, meta.namespace, meta.name, patch)


def _is_incomplete(key: ApiKey) -> bool:
    lacks = not key.metadata.annotations.get(ANNOTATION_ID) or _is_undated(key)
    return lacks and key.metadata.deletion_timestamp is None


def _is_undated(key: ApiKey) -> bool:
    return key.spec.revoked and key.spec.revoked_at is None


def _is_news(key: ApiKey) -> bool:
    """Whether somebody may have to be told that it was revoked, however long ago: perhaps no operator ran."""
    told = ANNOTATION_REVOCATION_TOLD in key.metadata.annotations
    return key.spec.revoked and not told and key.metadata.deletion_timestamp is None
