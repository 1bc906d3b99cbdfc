"""Copies of endpoints and deliveries with the indexes that readers need.

A delivery's payload can be 64 KiB, and no call shows it: the copy leaves it out.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from sys import intern
from typing import Final

from msgspec.structs import replace

from driftstack_api.pagination import Position
from driftstack_common.kinds import WebhookDelivery, WebhookEndpoint
from driftstack_common.kube.reflector import Signals
from driftstack_common.names import DELIVERY_ID

_Whose = tuple[str, str]
"""Namespace and uid of an endpoint."""


class Endpoints:
    """Endpoints by namespace; changes are told under their uid."""

    def __init__(self) -> None:
        self._signals = Signals()
        self._by_namespace: dict[str, dict[str, WebhookEndpoint]] = {}

    def stored(self, old: WebhookEndpoint | None, new: WebhookEndpoint) -> None:
        """Take note of a new or changed endpoint."""
        self._by_namespace.setdefault(new.metadata.namespace or "", {})[new.metadata.uid] = new
        self._signals.notify(new.metadata.uid)

    def removed(self, old: WebhookEndpoint) -> None:
        """Forget an endpoint."""
        namespace = old.metadata.namespace or ""
        left = self._by_namespace.get(namespace, {})
        left.pop(old.metadata.uid, None)
        if not left:
            self._by_namespace.pop(namespace, None)
        self._signals.notify(old.metadata.uid)

    def of_namespace(self, namespace: str) -> list[WebhookEndpoint]:
        """Return the endpoints of the account that this namespace belongs to."""
        return list(self._by_namespace.get(namespace, {}).values())

    def get(self, namespace: str, uid: str) -> WebhookEndpoint | None:
        """Return the endpoint whose object this is."""
        return self._by_namespace.get(namespace, {}).get(uid)

    async def arrived(self, endpoint: WebhookEndpoint, seconds: float) -> None:
        """Wait until the copy has at least this version of an endpoint that exists, at most this long."""
        namespace, uid = endpoint.metadata.namespace or "", endpoint.metadata.uid
        wanted = endpoint.metadata.generation

        def here() -> bool:
            known = self.get(namespace, uid)
            return known is not None and known.metadata.generation >= wanted

        await self._signals.wait_for(uid, here, seconds)


class Deliveries:
    """Deliveries of each endpoint, by id and in order.

    Those whose name is no UUID, which neither operator nor facade has made, have no public id and are left out.
    """

    def __init__(self) -> None:
        self._signals = Signals()
        self._by_id: dict[_Whose, dict[str, WebhookDelivery]] = {}
        self._order: dict[_Whose, list[Position]] = {}

    def stored(self, old: WebhookDelivery | None, new: WebhookDelivery) -> None:
        """Take note of a new or changed delivery."""
        if not DELIVERY_ID.fullmatch(new.id):
            return
        known = self._by_id.setdefault(_whose(new), {})
        if uuid_of(new) not in known:
            insort(self._order.setdefault(_whose(new), []), place(new))
        known[uuid_of(new)] = new
        self._signals.notify(uuid_of(new))

    def removed(self, old: WebhookDelivery) -> None:
        """Forget a delivery."""
        known = self._by_id.get(_whose(old), {})
        if known.pop(uuid_of(old), None) is None:
            return
        order = self._order[_whose(old)]
        order.pop(bisect_left(order, place(old)))
        if not known:
            del self._by_id[_whose(old)], self._order[_whose(old)]
        self._signals.notify(uuid_of(old))

    def page(
        self, endpoint: WebhookEndpoint, status: str | None, before: Position | None, limit: int
    ) -> tuple[list[WebhookDelivery], bool]:
        """Return up to `limit` deliveries to an endpoint, newest first, and whether there are more.

        Args:
            status: only those; None, all.
            before: only what is older than this place.
        """
        whose = endpoint.metadata.namespace or "", endpoint.metadata.uid
        order = self._order.get(whose, [])
        found: list[WebhookDelivery] = []
        for index in range(len(order) if before is None else bisect_left(order, before), 0, -1):
            delivery = self._by_id[whose][order[index - 1].uid]
            if status in (None, delivery.status.phase):
                if len(found) == limit:
                    return found, True
                found.append(delivery)
        return found, False

    def knows(self, delivery: WebhookDelivery) -> bool:
        """Whether a delivery is here."""
        return uuid_of(delivery) in self._by_id.get(_whose(delivery), {})

    async def arrived(self, delivery: WebhookDelivery, seconds: float) -> None:
        """Wait until the copy has a delivery that exists, at most this long."""
        await self._signals.wait_for(uuid_of(delivery), lambda: self.knows(delivery), seconds)


def lean_delivery(delivery: WebhookDelivery) -> WebhookDelivery:
    """Return a delivery without its payload; texts that repeat are kept once."""
    spec = delivery.spec
    endpoint = replace(spec.endpoint, name=intern(spec.endpoint.name), uid=intern(spec.endpoint.uid))
    metadata = replace(
        delivery.metadata, namespace=intern(delivery.metadata.namespace or ""), labels=_NONE, finalizers=[]
    )
    return replace(delivery, metadata=metadata, spec=replace(spec, payload="", endpoint=endpoint))


def place(delivery: WebhookDelivery) -> Position:
    """Return a delivery's place in lists."""
    return Position(round(delivery.spec.created_at.timestamp() * 1000), uuid_of(delivery))


def _whose(delivery: WebhookDelivery) -> _Whose:
    return delivery.metadata.namespace or "", delivery.spec.endpoint.uid


def uuid_of(delivery: WebhookDelivery) -> str:
    """Return a delivery's public id without its prefix."""
    return delivery.id.removeprefix("wdl_")


_NONE: Final[dict[str, str]] = {}
