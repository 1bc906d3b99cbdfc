"""Writes down what an ApiKey needs to outlive its cluster: its public id; and when it was revoked.

Keys are not watched by kopf: there are many, each call made with one changes it now and then, and of all that kopf
can do this needs nothing (a millisecond for each change).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from driftstack_common.kinds import ApiKey
from driftstack_common.kube.client import KubeClient
from driftstack_common.kube.errors import NotFound
from driftstack_common.kube.reflector import Reflector
from driftstack_common.names import ANNOTATION_ID
from driftstack_common.times import format_time, now


class Keys:
    """Reconciles keys, each by `namespace/name`, for one term.

    Args:
        kube: client to watch and write with.
        touch: called with each key that lacks something.
    """

    def __init__(self, kube: KubeClient, touch: Callable[[str], None]) -> None:
        self._kube = kube
        self._touch = touch
        self._reflector = Reflector(kube, ApiKey, stored=self._seen)

    async def run(self) -> None:
        """Watch until cancelled."""
        await self._reflector.run()

    def _seen(self, _: ApiKey | None, key: ApiKey) -> None:
        if _is_incomplete(key):
            self._touch("/".join(key.key))

    async def reconcile(self, name: str) -> None:
        """Write what is missing; of another version than the one seen, nothing."""
        namespace, _, object_name = name.partition("/")
        key = self._reflector.objects.get((namespace, object_name))
        if key is None or not _is_incomplete(key):
            return
        metadata: dict[str, Any] = {"uid": key.metadata.uid, "resourceVersion": key.metadata.resource_version}
        patch: dict[str, Any] = {"metadata": metadata}
        if not key.metadata.annotations.get(ANNOTATION_ID):
            metadata["annotations"] = {ANNOTATION_ID: key.id}
        if _is_undated(key):
            patch["spec"] = {"revokedAt": format_time(now())}
        try:
            await self._kube.merge_patch(ApiKey.KIND, namespace, object_name, patch)
        except NotFound:
            return


def _is_incomplete(key: ApiKey) -> bool:
    lacks = not key.metadata.annotations.get(ANNOTATION_ID) or _is_undated(key)
    return lacks and key.metadata.deletion_timestamp is None


def _is_undated(key: ApiKey) -> bool:
    return key.spec.revoked and key.spec.revoked_at is None
