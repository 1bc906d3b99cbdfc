"""Makes deliveries: part of the operator that leads, and of every end that somebody wants to be told of.

What happened is not over before its deliveries are stored. Each has a name that follows from event and endpoint, so
whoever does it again after a crash makes no second one.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable
from typing import Final

from driftstack_common.kinds import WebhookDelivery, WebhookEndpoint
from driftstack_common.kube.client import KubeClient
from driftstack_common.kube.errors import (
    AlreadyExists,
    Invalid,
    KindGone,
    NamespaceTerminating,
    NotFound,
    Unreachable,
)
from driftstack_common.kube.reflector import Reflector
from driftstack_common.logging import get_logger
from driftstack_common.names import ANNOTATION_ID
from driftstack_common.webhooks.deliveries import build_delivery, subscribed
from driftstack_common.webhooks.events import Event

CERTAIN: Final = 15.0
"""Age of the copy of endpoints, seconds, beyond which one may be missing. The watch proves itself every 2 s, more
slowly by an API server that takes seconds to answer; ends must not wait for that."""

logger = get_logger(__name__)


class Outbox:
    """Knows all endpoints, for one term.

    Args:
        kube: client to watch and write with.
        touch: called with each endpoint, `namespace/name`, that lacks its id.
        enabled: without, nobody is told of anything.
    """

    def __init__(self, kube: KubeClient, touch: Callable[[str], None], *, enabled: bool = True) -> None:
        self._kube = kube
        self._enabled = enabled
        self._touch = touch
        self._reflector = Reflector(kube, WebhookEndpoint, stored=self._seen, removed=self._gone)
        self._by_namespace: defaultdict[str, dict[str, WebhookEndpoint]] = defaultdict(dict)

    async def run(self) -> None:
        """Watch until cancelled."""
        if self._enabled:
            await self._reflector.run()

    def _seen(self, _: WebhookEndpoint | None, endpoint: WebhookEndpoint) -> None:
        namespace, name = endpoint.key
        self._by_namespace[namespace][name] = endpoint
        if _lacks_id(endpoint):
            self._touch(f"{namespace}/{name}")

    def _gone(self, endpoint: WebhookEndpoint) -> None:
        namespace, name = endpoint.key
        self._by_namespace[namespace].pop(name, None)
        if not self._by_namespace[namespace]:
            del self._by_namespace[namespace]

    async def reconcile(self, name: str) -> None:
        """Write an endpoint's id down, so that a restored backup keeps it."""
        namespace, _, object_name = name.partition("/")
        endpoint = self._reflector.objects.get((namespace, object_name))
        if endpoint is None or not _lacks_id(endpoint):
            return
        meta = endpoint.metadata
        patch = {
            "metadata": {
                "uid": meta.uid,
                "resourceVersion": meta.resource_version,
                "annotations": {ANNOTATION_ID: endpoint.id},
            }
        }
        try:
            await self._kube.merge_patch(WebhookEndpoint.KIND, namespace, object_name, patch)
        except NotFound:
            return

    def listens(self, namespace: str) -> bool:
        """Whether anybody may be told of what happens there.

        Raises:
            Unreachable: that is not known now; ask again.
        """
        if not self._enabled:
            return False
        if self._reflector.unserved:
            # A chart from before webhooks, whose CRDs were not updated; or an API server that is starting:
            # then those that were known are there.
            return namespace in self._by_namespace
        if self._reflector.age > CERTAIN:
            raise Unreachable("webhook endpoints are not known for certain now")
        return namespace in self._by_namespace

    async def tell(self, namespace: str, event: Event) -> None:
        """Store a delivery for each endpoint that is told of the event.

        Raises:
            KubeError: not all of them are stored; call again.
        """
        if not self.listens(namespace):
            return
        told = subscribed(self._by_namespace[namespace].values(), event)
        results = await asyncio.gather(*(self._store(endpoint, event) for endpoint in told), return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException):
                raise result

    async def _store(self, endpoint: WebhookEndpoint, event: Event) -> None:
        namespace = endpoint.metadata.namespace
        try:
            await self._kube.create(WebhookDelivery.KIND, namespace, build_delivery(endpoint, event))
        except AlreadyExists:
            return
        except (NamespaceTerminating, KindGone, Invalid) as error:
            logger.error(
                "event lost: its delivery can't be stored",
                namespace=namespace,
                endpoint=endpoint.metadata.name,
                event_id=event.id,
                event_type=event.type,
                error=str(error),
            )


def _lacks_id(endpoint: WebhookEndpoint) -> bool:
    return not endpoint.metadata.annotations.get(ANNOTATION_ID) and endpoint.metadata.deletion_timestamp is None
