"""Writes what became of deliveries into their status, and reads those bodies that are not kept."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Final

from msgspec.structs import replace

from driftstack_common.kinds import WebhookDelivery, from_body
from driftstack_common.kube.client import KubeClient
from driftstack_common.kube.errors import Conflict, Invalid, KubeError, NotFound
from driftstack_common.logging import get_logger
from driftstack_operator.webhooks.lanes import Key
from driftstack_operator.webhooks.schedule import Status, given_up

FIRST_PAUSE: Final = 0.1
LONGEST_PAUSE: Final = 2.0
"""Between tries to write an outcome, seconds."""
AT_ONCE: Final = 32
"""Writes at once: the API server has others to serve."""
KEPT: Final = 2_048
"""Characters of a body up to which it is kept; thousands of deliveries can wait for an endpoint that is paused."""

logger = get_logger(__name__)


def lean(delivery: WebhookDelivery) -> WebhookDelivery:
    """Return what of a delivery is kept: neither what was answered, nor a body that is large or was sent."""
    spec, status = delivery.spec, delivery.status
    if delivery.finished or len(spec.payload) > KEPT:
        spec = replace(spec, payload="")
    return replace(delivery, spec=spec, status=replace(status, last_response_excerpt=None))


class Outcomes:
    """Writes, and remembers which version it wrote, or found instead, until the watch has brought it.

    Args:
        kube: client to read and write with.
    """

    def __init__(self, kube: KubeClient) -> None:
        self._kube = kube
        self._known: dict[Key, int] = {}
        self._slots = asyncio.Semaphore(AT_ONCE)

    def overtook(self, delivery: WebhookDelivery) -> bool:
        """Whether what the watch brings is older than what is known here."""
        if int(delivery.metadata.resource_version) < self._known.get(delivery.key, 0):
            return True
        self.forget(delivery.key)
        return False

    def forget(self, key: Key) -> None:
        """The watch has caught up, or the delivery is gone."""
        self._known.pop(key, None)

    async def whole(self, delivery: WebhookDelivery) -> WebhookDelivery:
        """Return the same with its body.

        Raises:
            KubeError: it can't be read now, or is gone.
        """
        if delivery.spec.payload:
            return delivery
        body = await self._kube.get(WebhookDelivery.KIND, *delivery.key)
        return replace(delivery, spec=from_body(WebhookDelivery, body).spec)

    async def write(self, delivery: WebhookDelivery, status: Status) -> WebhookDelivery | None:
        """Write until it is there, or somebody else's is; return the delivery as stored, None when it is gone."""
        pause, known = FIRST_PAUSE, delivery
        while True:
            try:
                return await self._patch(known, status)
            except NotFound:  # it went with its endpoint or account
                return None
            except Conflict:
                current = await self._current(known)
                if current is None or _is_further(current, delivery):
                    return current
                if current is not known:
                    known = current
                    continue
            except Invalid as error:
                logger.error("outcome refused", delivery=delivery.metadata.name, error=str(error))
                status = given_up("its outcome could not be written")
            except KubeError as error:
                logger.warning("outcome not written yet", delivery=delivery.metadata.name, error=str(error))
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE)

    async def say(self, delivery: WebhookDelivery, status: Status) -> None:
        """Write once what is good to know and nothing depends on; not over what somebody else has written."""
        with contextlib.suppress(KubeError):
            await self._patch(delivery, status)

    async def _current(self, delivery: WebhookDelivery) -> WebhookDelivery | None:
        """Return what the object is now, None when it is gone; the very one given when that can't be read."""
        meta = delivery.metadata
        try:
            body = await self._kube.get(WebhookDelivery.KIND, meta.namespace, meta.name)
        except NotFound:
            return None
        except KubeError:
            return delivery
        current = lean(from_body(WebhookDelivery, body))
        if current.metadata.uid != meta.uid:
            return None
        self._remember(current)
        return current

    async def _patch(self, delivery: WebhookDelivery, status: Status) -> WebhookDelivery:
        """Patch this very object, in the version that is known."""
        meta = delivery.metadata
        known = {"uid": meta.uid, "resourceVersion": meta.resource_version}
        patch = {"metadata": known, "status": status}
        async with self._slots:
            body = await self._kube.merge_patch(WebhookDelivery.KIND, meta.namespace, meta.name, patch, "status")
        stored = lean(from_body(WebhookDelivery, body))
        self._remember(stored)
        return stored

    def _remember(self, stored: WebhookDelivery) -> None:
        """Remember the newest version: what is said can be answered after the outcome that followed it."""
        self._known[stored.key] = max(int(stored.metadata.resource_version), self._known.get(stored.key, 0))


def _is_further(current: WebhookDelivery, before: WebhookDelivery) -> bool:
    """Whether another dispatcher has sent it since: this one was cut off for so long that it lost the delivery."""
    return current.finished or current.status.attempts != before.status.attempts
