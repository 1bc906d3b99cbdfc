"""History has an end: records (once counted), deliveries, disabled endpoints and idempotency keys go."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Final

import msgspec

from driftstack_common.kinds import (
    CreateRequest,
    DeliveryPhase,
    Record,
    WebhookDelivery,
    WebhookEndpoint,
    from_body,
)
from driftstack_common.kinds.meta import Kind
from driftstack_common.kube.client import Body, KubeClient
from driftstack_common.kube.errors import Conflict, KindGone, KubeError, NotFound
from driftstack_common.kube.pages import pages
from driftstack_common.logging import get_logger
from driftstack_common.times import now, parse_time
from driftstack_operator.folding import Folding
from driftstack_operator.metrics import Metrics
from driftstack_operator.settings import Settings

AT_ONCE: Final = 8
REQUESTS_LIVE: Final = timedelta(hours=24)
BATCH: Final = 100
"""Records whose usage one write counts."""
MOST_OF_ACCOUNT: Final = 2_000
"""Records of an account that go in one round: the sums name all of them."""

logger = get_logger(__name__)


class Kept(msgspec.Struct, frozen=True):
    """An object that has an age."""

    namespace: str
    name: str
    created_at: datetime
    uid: str = ""
    version: str | None = None


class Rules(msgspec.Struct, frozen=True):
    """What is kept: per account so many and so old; so many in the cluster."""

    per_account: int
    age: timedelta
    in_cluster: int


def surplus(records: Iterable[Kept], moment: datetime, rules: Rules) -> list[Kept]:
    """Return the records that have to go, oldest first. Pure."""
    accounts: dict[str, list[Kept]] = defaultdict(list)
    for record in records:
        accounts[record.namespace].append(record)
    goes: list[Kept] = []
    stays: list[Kept] = []
    for own in accounts.values():
        own.sort(key=lambda record: record.created_at, reverse=True)
        young = [record for record in own[: rules.per_account] if moment - record.created_at <= rules.age]
        stays += young
        goes += own[len(young) :]
    stays.sort(key=lambda record: record.created_at, reverse=True)
    return sorted(goes + stays[rules.in_cluster :], key=lambda record: record.created_at)


class Retention:
    """Removes what need not be kept.

    Args:
        kube: client to list and delete with.
        settings: the rules and the interval.
        metrics: counts what was removed.
    """

    def __init__(self, kube: KubeClient, settings: Settings, metrics: Metrics) -> None:
        self._kube = kube
        self._metrics = metrics
        self._interval = settings.retention_seconds
        self._rules = Rules(
            settings.records_per_account, timedelta(days=settings.record_days), settings.records_in_cluster
        )
        self._delivery_rules = Rules(
            settings.deliveries_per_account,
            timedelta(days=settings.delivery_days),
            settings.deliveries_in_cluster,
        )

    async def run(self) -> None:
        """Remove again and again until cancelled."""
        while True:
            more = False
            try:
                more = await self.remove()
            except KubeError as error:
                logger.warning("retention failed", error=str(error))
            if not more:
                await asyncio.sleep(self._interval)

    async def remove(self) -> bool:
        """Remove once; return whether there is more that can go now."""
        accounts: dict[str, list[Kept]] = defaultdict(list)
        for record in surplus(await self._list(Record.KIND), now(), self._rules):
            accounts[record.namespace].append(record)
        more = False
        for namespace, records in accounts.items():
            removed = await self._remove_records(namespace, records[:MOST_OF_ACCOUNT])
            more = more or (removed > 0 and len(records) > MOST_OF_ACCOUNT)
        with suppress(KindGone):  # a chart from before webhooks, whose CRDs were not updated
            await self._remove_webhooks()
        requests = await self._list(CreateRequest.KIND)
        await self._delete(CreateRequest.KIND, [old for old in requests if now() - old.created_at > REQUESTS_LIVE])
        return more

    async def _remove_records(self, namespace: str, records: list[Kept]) -> int:
        """Count an account's records, and then delete them; return how many went."""
        removed = 0
        folding = Folding(self._kube, namespace)
        try:
            await folding.begin()
            for first in range(0, len(records), BATCH):
                batch = records[first : first + BATCH]
                await folding.add(record.name for record in batch)
                removed += await self._delete(Record.KIND, batch)
        except (KubeError, msgspec.ValidationError) as error:  # other accounts' can go all the same
            logger.warning("records kept: their usage is not counted", namespace=namespace, error=str(error))
        self._metrics.records_removed.inc(removed)
        return removed

    async def _remove_webhooks(self) -> None:
        """Remove finished deliveries (others are sent or given up first), and endpoints disabled for as long."""
        rules = self._delivery_rules
        finished: list[Kept] = []
        for phase in (DeliveryPhase.DELIVERED, DeliveryPhase.DLQ):
            finished += await self._list(WebhookDelivery.KIND, f"status.phase={phase}")
        removed = await self._delete(WebhookDelivery.KIND, surplus(finished, now(), rules))
        self._metrics.deliveries_removed.inc(removed)
        listing = await self._kube.list_objects(WebhookEndpoint.KIND)
        ended = [
            Kept(*each.key, each.disabled_at, each.metadata.uid)
            for each in _readable(listing.get("items") or [])
            if each.spec.disabled and each.disabled_at is not None and now() - each.disabled_at > rules.age
        ]
        await self._delete(WebhookEndpoint.KIND, ended)

    async def _list(self, kind: Kind, fields: str = "") -> list[Kept]:
        found: list[Kept] = []
        async for page in pages(self._kube.list_metadata, kind, fieldSelector=fields):
            for item in page.get("items") or []:
                meta = item["metadata"]
                created_at = parse_time(meta["creationTimestamp"])
                place = (meta["namespace"], meta["name"])
                found.append(Kept(*place, created_at, meta["uid"], meta["resourceVersion"]))
        return found

    async def _delete(self, kind: Kind, objects: list[Kept]) -> int:
        """Delete what can be deleted; return how many were."""
        slots = asyncio.Semaphore(AT_ONCE)
        removed: list[Kept] = []

        async def delete(item: Kept) -> None:
            async with slots:
                try:
                    await self._kube.delete(kind, item.namespace, item.name, uid=item.uid, version=item.version)
                except (NotFound, Conflict):  # Conflict: a key that was used anew since, a delivery replayed since
                    return
                except KubeError as error:  # the next round finds it again; the others can go now
                    logger.warning("not removed", kind=kind.plural, object=item.name, error=str(error))
                    return
                removed.append(item)

        async with asyncio.TaskGroup() as group:
            for item in objects:
                group.create_task(delete(item))
        return len(removed)


def _readable(bodies: Iterable[Body]) -> Iterator[WebhookEndpoint]:
    """Yield the endpoints; one that can't be read must not end the operator."""
    for body in bodies:
        try:
            yield from_body(WebhookEndpoint, body)
        except msgspec.ValidationError as error:
            meta = body["metadata"]
            logger.error("unreadable endpoint", namespace=meta["namespace"], name=meta["name"], error=str(error))
