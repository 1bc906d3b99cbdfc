"""Direct LISTs: they repair what the watches missed, and judge them by it.

At start, before anything is decided; of one kind, right after kopf has listed it (it tells nothing of what is no
longer there); and of all kinds every half minute, for what nobody has thought of.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Any, Final

import msgspec

from driftstack_common.kinds import Account, Archetype, Pool, Record, Session
from driftstack_common.kinds.meta import Kind
from driftstack_common.kube.client import BINDING, NAMESPACE, NODE, POD, QUOTA, KubeClient
from driftstack_common.kube.errors import KindGone, KubeError
from driftstack_common.kube.pages import pages
from driftstack_common.logging import get_logger
from driftstack_common.names import LABEL_ACCOUNT
from driftstack_operator.accounts.namespace import NamespaceState, state_of
from driftstack_operator.handlers import ACCOUNT_SELECTOR, POD_SELECTOR
from driftstack_operator.health import Health
from driftstack_operator.intake import Intake, Touch
from driftstack_operator.metrics import Metrics
from driftstack_operator.sessions.tracks import Tracks
from driftstack_operator.settings import Settings
from driftstack_operator.store import Shelf, Store, key_of, version_of

FIRST_RETRY: Final = 0.5
LONGEST_RETRY: Final = 5.0
REPAIR_RETRY: Final = 0.5
AT_ONCE: Final = 16
"""LISTs of records at once; a new leader waits for them."""

AT_A_TIME: Final = 20
"""Sessions that a sweep has looked at before it pauses for PAUSE seconds: 1,000 a second."""
PAUSE: Final = 0.02

logger = get_logger(__name__)


class Scope(msgspec.Struct, frozen=True, kw_only=True):
    """One LIST, the shelf it repairs, and what a change or a loss means."""

    kind: Kind
    shelf: Shelf[Any]
    namespace: str | None = None
    selector: str = ""
    changed: Callable[[Any], None] = lambda _: None
    gone: Callable[[Any], None] = lambda _: None


class Shown(msgspec.Struct, frozen=True, gc=False):
    """An object of a LIST: what is kept of it until the watch is judged."""

    uid: str
    namespace: str
    name: str
    version: int


class Sweep:
    """Lists everything the operator watches.

    Args:
        kube: client to list with.
        store: what to repair.
        tracks: learns at start which sessions have a record already.
        intake, touch: told what was found.
        health, metrics: told how it went.
        settings: intervals and namespaces.
    """

    def __init__(
        self,
        *,
        kube: KubeClient,
        store: Store,
        tracks: Tracks,
        intake: Intake,
        touch: Touch,
        health: Health,
        metrics: Metrics,
        settings: Settings,
    ) -> None:
        self._kube = kube
        self._store = store
        self._tracks = tracks
        self._touch = touch
        self._health = health
        self._metrics = metrics
        self._settings = settings
        self._relisted: set[str] = set()
        self._asked = asyncio.Event()
        # Pods before sessions: a pod in the first list whose session is not in the second has lost it.
        self._scopes = [
            Scope(kind=NODE, shelf=store.nodes, gone=intake.node_left),
            Scope(kind=Archetype.KIND, shelf=store.archetypes),
            Scope(
                kind=Pool.KIND,
                shelf=store.pools,
                namespace=settings.browser_namespace,
                changed=intake.pool_seen,
                gone=intake.pool_seen,
            ),
            Scope(kind=QUOTA, shelf=store.quotas, selector=ACCOUNT_SELECTOR),
            Scope(kind=BINDING, shelf=store.bindings, selector=ACCOUNT_SELECTOR),
            Scope(kind=Account.KIND, shelf=store.accounts, changed=intake.account_seen, gone=intake.account_left),
            Scope(
                kind=POD,
                shelf=store.pods,
                namespace=settings.browser_namespace,
                selector=POD_SELECTOR,
                gone=intake.pod_left,
            ),
            Scope(kind=Session.KIND, shelf=store.sessions, changed=intake.session_seen, gone=intake.session_left),
        ]

    async def prime(self, stop: asyncio.Event) -> None:
        """Fill the store before anything is decided; tries until it works or `stop` is set."""
        delay = FIRST_RETRY
        while not stop.is_set():
            try:
                await self.list_all()
                await self._find_records()
                await self.touch_all()
                return
            except KubeError as error:
                logger.warning("cannot list yet", error=str(error), seconds=delay)
            await _wait(stop, delay)
            delay = min(delay * 2, LONGEST_RETRY)

    async def run(self) -> None:
        """Sweep and repair until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._rounds(), name="sweep-rounds")
            group.create_task(self._repairs(), name="sweep-repairs")

    def repair(self, kind: str) -> None:
        """Have a kind (its plural) listed at once: deletions of it may have been missed."""
        self._relisted.add(kind)
        self._asked.set()

    async def _rounds(self) -> None:
        while True:
            most = self._settings.silence_seconds if self._health.doubtful else self._settings.sweep_seconds
            # Jitter keeps several operators, and the minutes of a clock, from meeting.
            await asyncio.sleep(most * random.uniform(0.9, 1.1))  # noqa: S311 - no secret
            if not self._health.primed:
                continue
            try:
                await self.sweep()
            except KubeError as error:
                self._health.unjudged()
                logger.warning("sweep failed", error=str(error))

    async def _repairs(self) -> None:
        while True:
            await self._asked.wait()
            try:
                await self.repair_relisted()
            except KubeError as error:
                logger.warning("repair failed", kinds=sorted(self._relisted), error=str(error))
                await asyncio.sleep(REPAIR_RETRY)

    async def repair_relisted(self) -> None:
        """List the kinds that `repair` was called for; they stay due when that fails."""
        self._asked.clear()
        due = set(self._relisted)
        self._relisted.clear()
        for scope in self._scopes:
            if scope.kind.plural in due:
                try:
                    await self._list(scope)
                except KindGone:  # whoever brings it back has kopf list it, and us again
                    logger.warning("not served", kind=scope.kind.plural)
                except KubeError:
                    self._relisted |= due
                    self._asked.set()
                    raise
                due.discard(scope.kind.plural)

    async def sweep(self) -> None:
        """Repair the store once, and judge the watches."""
        listings = await self.list_all()
        await self.touch_all(PAUSE)
        await asyncio.sleep(self._settings.silence_seconds)
        for scope, listing in listings:
            await self._judge(scope, listing)

    async def list_all(self) -> list[tuple[Scope, list[Shown]]]:
        """List everything and repair the store by it; a kind whose CRD is gone holds up no other."""
        listings = []
        for scope in self._scopes:
            try:
                listings.append((scope, await self._list(scope)))
            except KindGone as error:
                logger.warning("not served", kind=scope.kind.plural, error=error.message)
        return listings

    async def touch_all(self, pause: float = 0.0) -> None:
        """Have every session and pool looked at, and every account whose state is not what it should be.

        Args:
            pause: seconds after each few sessions, so that one that starts meanwhile has few before it.
        """
        pools = {pool.metadata.name for pool in self._store.pools.values()}
        # Warm pods of a pool that is gone may have been orphaned on purpose (`kubectl delete --cascade=orphan`).
        for name in pools | {pod.pool for pod in self._store.pods.values() if pod.waits and pod.pool}:
            self._touch.touch_pool(name)
        uids = [pod.session for pod in self._store.pods.values() if pod.session]
        uids += [session.uid for session in self._store.sessions.values()]
        for number, uid in enumerate(dict.fromkeys(uids), start=1):
            self._touch.touch_session(uid)
            if pause and number % AT_A_TIME == 0:
                await asyncio.sleep(pause)
        listing = await self._kube.list_objects(NAMESPACE, labelSelector=LABEL_ACCOUNT)
        namespaces = {item["metadata"]["name"]: item for item in listing.get("items") or []}
        for account in self._store.accounts.values():
            name = account.metadata.name
            sound = state_of(namespaces.get(account.namespace), name) is NamespaceState.OURS
            if sound and account.ready and account.metadata.deletion_timestamp is None:
                self._touch.touch_limits(name)
            else:
                self._touch.touch_account(name)

    async def _list(self, scope: Scope) -> list[Shown]:
        """List page by page: a whole one of thousands would hold the event loop, and lie in memory, for long."""
        shown: list[Shown] = []
        changes, version = 0, 0
        where = scope.kind, scope.namespace
        async for page in pages(self._kube.list_objects, *where, labelSelector=scope.selector):
            version = int(page["metadata"]["resourceVersion"])
            items = page.get("items") or []
            shown += [Shown(item["metadata"]["uid"], *key_of(item), version_of(item)) for item in items]
            changed = scope.shelf.take(items)
            changes += len(changed)
            for value in changed:
                scope.changed(value)
        gone = scope.shelf.settle({each.uid for each in shown}, version)
        for value in gone:
            scope.gone(value)
        if self._health.primed and (changes or gone):
            self._metrics.repairs.labels(scope.kind.plural).inc(changes + len(gone))
            logger.info("repaired", kind=scope.kind.plural, changed=changes, gone=len(gone))
        return shown

    async def _find_records(self) -> None:
        """Find the sessions whose end was begun by an operator before this one."""
        namespaces = {session.metadata.namespace for session in self._store.sessions.values()}
        slots = asyncio.Semaphore(AT_ONCE)

        async def find(namespace: str | None) -> None:
            async with slots:
                try:
                    listing = await self._kube.list_metadata(Record.KIND, namespace)
                except KindGone:
                    return
            for item in listing.get("items") or []:
                track = self._tracks.get(item["metadata"]["name"])
                if track is not None:
                    track.recorded = True

        await asyncio.gather(*(find(namespace) for namespace in namespaces))

    async def _judge(self, scope: Scope, listing: list[Shown]) -> None:
        """A version that the LIST showed and the watch has not brought since means that the watch is dead."""
        behind = [each for each in listing if self._is_behind(scope, each)]
        dead = False
        for each in behind[:3]:  # objects that went meanwhile prove nothing; a dead watch misses many
            dead = dead or await self._exists(scope.kind, each)
        if dead:
            logger.error("the watch is silent", kind=scope.kind.plural, object=behind[0].name)
        self._health.judged(scope.kind.plural, dead=dead)

    def _is_behind(self, scope: Scope, shown: Shown) -> bool:
        known = scope.shelf.by_uid(shown.uid) is not None
        return known and scope.shelf.delivered.get(shown.uid, 0) < shown.version

    async def _exists(self, kind: Kind, shown: Shown) -> bool:
        # A list of one: reading nodes and quotas singly is no right the operator needs otherwise.
        where, only = shown.namespace or None, f"metadata.name={shown.name}"
        listing = await self._kube.list_objects(kind, where, fieldSelector=only)
        return any(found["metadata"]["uid"] == shown.uid for found in listing.get("items") or [])


async def _wait(stop: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await stop.wait()
    except TimeoutError:
        return
