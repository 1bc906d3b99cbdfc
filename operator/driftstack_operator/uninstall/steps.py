"""The steps before the chart is removed.

Sessions and accounts carry finalizers that wait for the operator, and the operator is about to go. So the sessions
are ended while it still runs and can write their records; then it is stopped, no new session is let in, and what is
kept (accounts, records, keys) is made deletable without it. An operator that is broken costs the records of the
sessions that live, and a bounded time: nothing here waits for ever.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Final

from driftstack_common.kinds import Account, Session, from_body
from driftstack_common.kube.client import DEPLOYMENT, LEASE, NAMESPACE, POD, QUOTA, Body, KubeClient
from driftstack_common.kube.errors import Conflict, Forbidden, Invalid, KindGone, NotFound
from driftstack_common.logging import get_logger
from driftstack_common.names import (
    ACCOUNT_FINALIZER,
    APP_BROWSER,
    FINALIZER,
    LABEL_ACCOUNT,
    LABEL_APP,
    QUOTA_NAME,
    SESSION_QUOTA,
    account_namespace,
)
from driftstack_common.times import now
from driftstack_operator.accounts import conditions
from driftstack_operator.finalizers import dropping
from driftstack_operator.uninstall.settings import Settings
from driftstack_operator.webhooks.shards import SHARDS, lease_name

LOOK_AGAIN: Final = 0.5
STALLED: Final = 30.0
"""Seconds without a single end after which the operator counts as broken."""
STOP_SECONDS: Final = 30.0
"""Time for a component's pods to go."""
GRACE_SECONDS: Final = 10.0
"""Time for browser pods to go before they are removed by force."""
TRIES: Final = 3
OPERATOR: Final = "driftstack-operator"
FACADE: Final = "driftstack-facade"
DISPATCHER: Final = "driftstack-dispatcher"

logger = get_logger(__name__)


class Uninstall:
    """One run; every step is safe to repeat.

    Args:
        kube: client with the hook's own rights.
        settings: namespaces and patience.
        clock, sleep: monotonic seconds and how they pass; tests give their own.
    """

    def __init__(
        self,
        kube: KubeClient,
        settings: Settings,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._kube = kube
        self._settings = settings
        self._clock = clock
        self._sleep = sleep

    async def run(self) -> int:
        """Do all of it; return how many sessions went without a record."""
        await self._scale_down(FACADE)
        ended = await self._end_all()
        await self._stopped(FACADE)
        if ended:
            await self._end_all()  # what a facade that was stopping has let in
        for component in (OPERATOR, DISPATCHER):
            await self._scale_down(component)
        for component in (OPERATOR, DISPATCHER):
            await self._stopped(component)
        await self._remove_leases()
        accounts = await self._list(Account)
        for account in accounts:
            await self._close(account)
        lost = await self._force_sessions()
        await self._force_pods()
        for account in accounts:
            await self._release(account["metadata"])
        logger.info("accounts can be deleted without the operator now", accounts=len(accounts))
        return lost

    # -- with the operator

    async def _end_all(self) -> bool:
        """Delete sessions, and wait for the operator to let them and accounts that are being deleted go.

        Returns:
            Whether it did.
        """
        begun = progress = self._clock()
        fewest: int | None = None
        while left := await self._delete_sessions() + await self._leaving():
            now = self._clock()
            if fewest is None or left < fewest:
                fewest, progress = left, now
                logger.info("waiting for sessions and accounts to end", left=left)
            if now - progress > STALLED or now - begun > self._settings.seconds:
                logger.warning("the operator does not end them: going on without it", left=left)
                return False
            await self._sleep(LOOK_AGAIN)
        logger.info("no session lives")
        return True

    async def _delete_sessions(self) -> int:
        sessions = await self._list(Session)
        for meta in (session["metadata"] for session in sessions):
            if "deletionTimestamp" not in meta:
                await self._delete_session(meta)
        return len(sessions)

    async def _delete_session(self, meta: Body) -> None:
        try:
            await self._kube.delete(Session.KIND, meta["namespace"], meta["name"], uid=meta["uid"])
        except (NotFound, Conflict):  # it is gone already
            return

    async def _leaving(self) -> int:
        return sum("deletionTimestamp" in account["metadata"] for account in await self._list(Account))

    async def _scale_down(self, component: str) -> None:
        """Have a component stop; a facade that answers a step stops when the step's session has ended."""
        with suppress(NotFound):
            patch = {"spec": {"replicas": 0}}
            await self._kube.merge_patch(DEPLOYMENT, self._settings.system_namespace, component, patch, "scale")

    async def _stopped(self, component: str) -> None:
        """Wait until a component's pods are gone."""
        namespace = self._settings.system_namespace
        selector = f"{LABEL_APP}=driftstack,app.kubernetes.io/component={component.removeprefix('driftstack-')}"

        async def gone() -> bool:
            return not (await self._kube.list_objects(POD, namespace, labelSelector=selector)).get("items")

        logger.info("stopped" if await self._until(gone, STOP_SECONDS) else "does not stop", component=component)

    # -- without it

    async def _remove_leases(self) -> None:
        """Remove what operator and dispatcher have made for themselves; nobody else would."""
        for name in (OPERATOR, *map(lease_name, range(SHARDS))):
            with suppress(NotFound):
                await self._kube.delete(LEASE, self._settings.system_namespace, name)

    async def _close(self, account: Body) -> None:
        """Let no new session into an account: nobody would run it, nor let it go."""
        name = account["metadata"]["name"]
        status = conditions.status_of(from_body(Account, account), conditions.uninstalled(), now())
        with suppress(NotFound):
            patch = {"spec": {"hard": {SESSION_QUOTA: "0"}}}
            await self._kube.merge_patch(QUOTA, account_namespace(name), QUOTA_NAME, patch)
        with suppress(NotFound):
            if status is not None:
                await self._kube.merge_patch(Account.KIND, None, name, {"status": status}, "status")

    async def _force_sessions(self) -> int:
        """Remove the sessions that nobody has ended, without records; return how many."""
        left = [session["metadata"] for session in await self._list(Session)]
        waiting = [meta for meta in left if FINALIZER in meta.get("finalizers", [])]
        for meta in waiting:
            logger.warning("session removed without a record", session=meta["uid"], namespace=meta["namespace"])
            await self._delete_session(meta)
            await self._drop_finalizer(Session, meta, FINALIZER)
        return len(waiting)

    async def _drop_finalizer(self, kind: type[Account] | type[Session], meta: Body, finalizer: str) -> None:
        """Drop it, also from an object that somebody changes meanwhile."""
        for _ in range(TRIES):
            if finalizer not in meta.get("finalizers", []):
                return
            patch = dropping(finalizer, uid=meta["uid"], finalizers=meta["finalizers"])
            try:
                await self._kube.json_patch(kind.KIND, meta.get("namespace"), meta["name"], patch)
            except NotFound:
                return
            except Invalid:
                listed = [item["metadata"] for item in await self._list(kind)]
                meta = next((found for found in listed if found["uid"] == meta["uid"]), {})
                continue
            return
        logger.warning("finalizer not dropped", kind=kind.KIND.plural, object=meta["name"])

    async def _force_pods(self) -> None:
        """Remove the browser pods, those on nodes that don't answer too."""
        for pod in await self._pods():
            await self._delete_pod(pod["metadata"], None)

        async def gone() -> bool:
            return not await self._pods()

        if not await self._until(gone, GRACE_SECONDS):
            for pod in await self._pods():
                await self._delete_pod(pod["metadata"], 0)

    async def _pods(self) -> list[Body]:
        query = {"labelSelector": f"{LABEL_APP}={APP_BROWSER}"}
        try:
            listing = await self._kube.list_objects(POD, self._settings.browser_namespace, **query)
        except (Forbidden, NotFound):  # the namespace is gone, and with it the right to look into it
            return []
        return list(listing.get("items") or [])

    async def _delete_pod(self, meta: Body, grace_seconds: int | None) -> None:
        where = (self._settings.browser_namespace, meta["name"])
        try:
            await self._kube.delete(POD, *where, uid=meta["uid"], grace_seconds=grace_seconds)
        except (NotFound, Conflict):  # it is gone already
            return

    async def _release(self, meta: Body) -> None:
        """Drop an account's finalizer; the namespace of one that was being deleted goes with it."""
        if "deletionTimestamp" in meta:
            await self._delete_namespace(meta["name"])
        await self._drop_finalizer(Account, meta, ACCOUNT_FINALIZER)

    async def _delete_namespace(self, account: str) -> None:
        try:
            namespace = await self._kube.get(NAMESPACE, None, account_namespace(account))
            if (namespace["metadata"].get("labels") or {}).get(LABEL_ACCOUNT) == account:
                await self._kube.delete(NAMESPACE, None, account_namespace(account))
        except (NotFound, Conflict):  # it is gone already, or going
            return

    # -- helpers

    async def _list(self, kind: type[Account] | type[Session]) -> list[Body]:
        try:
            items: list[Any] = (await self._kube.list_objects(kind.KIND)).get("items") or []
        except KindGone:  # the CRD was deleted first
            return []
        return items

    async def _until(self, look: Callable[[], Awaitable[bool]], seconds: float) -> bool:
        deadline = self._clock() + seconds
        while not await look():
            if self._clock() > deadline:
                return False
            await self._sleep(LOOK_AGAIN)
        return True
