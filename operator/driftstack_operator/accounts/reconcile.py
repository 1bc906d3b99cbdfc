"""Gives each Account its namespace and quota, and takes them away again.

An account is Ready only when the API server enforces its quota: before that, creates are refused or uncounted.
"""

from __future__ import annotations

import time
from typing import Any, Final

import msgspec

from driftstack_common.kinds import Account, Condition, Session
from driftstack_common.kube.client import NAMESPACE, QUOTA, Body, KubeClient
from driftstack_common.kube.errors import AlreadyExists, Conflict, NotFound
from driftstack_common.logging import get_logger
from driftstack_common.names import ACCOUNT_FINALIZER, ANNOTATION_ID, QUOTA_NAME
from driftstack_common.times import format_time, now
from driftstack_operator.accounts.namespace import NamespaceState, build_namespace, state_of
from driftstack_operator.accounts.quota import QuotaView, build_quota, in_force, next_shake, overcharged
from driftstack_operator.policy import cap_of
from driftstack_operator.settings import Settings
from driftstack_operator.store import Store

FIELD_MANAGER: Final = "driftstack-operator"
WRONG_FOR: Final = 2.0
"""Seconds that a quota may lag behind before it is shaken."""
LOOK_AGAIN: Final = 0.5

logger = get_logger(__name__)


class Accounts:
    """Reconciles accounts, each by its name.

    Args:
        kube: client to read and write with.
        store: what was observed.
        settings: the tiers.
    """

    def __init__(self, kube: KubeClient, store: Store, settings: Settings) -> None:
        self._kube = kube
        self._store = store
        self._settings = settings
        self._wrong_since: dict[str, float] = {}

    async def reconcile(self, name: str) -> float | None:
        """Do all that can be done for the account now; return when to look again, seconds."""
        account = self._store.accounts.get("", name)
        if account is None:
            self._wrong_since.pop(name, None)
            return None
        if account.metadata.deletion_timestamp is not None:
            return await self._remove(account)
        account = await self._hold(account)
        state = await self._ensure_namespace(account)
        if state is not NamespaceState.OURS:
            return await self._not_ready(account, state)
        cap = cap_of(account, self._settings.tiers)
        await self._ensure_quota(account, cap)
        if not in_force(self._quota(account), cap):
            await self._report(account, "False", "QuotaNotInForce", "the API server does not count sessions yet")
            return await self.check_quota(name) or LOOK_AGAIN
        await self._report(account, "True", "QuotaInForce", "sessions can be created", limit=cap)
        return await self.check_quota(name)

    async def check_quota(self, name: str) -> float | None:
        """Shake the account's quota when it has been wrong for long; return when to look again, seconds."""
        account = self._store.accounts.get("", name)
        if account is None or not self._is_wrong(account):
            self._wrong_since.pop(name, None)
            return None
        since = self._wrong_since.setdefault(name, time.monotonic())
        left = WRONG_FOR - (time.monotonic() - since)
        if left > 0:
            return left
        del self._wrong_since[name]
        quota = self._quota(account)
        if quota is not None:
            logger.info("quota shaken", account=name, used=quota.used, limit=quota.limit)
            await self._apply_quota(account, cap_of(account, self._settings.tiers), next_shake(quota))
        return WRONG_FOR

    def _is_wrong(self, account: Account) -> bool:
        quota = self._quota(account)
        live = len(self._store.sessions.group(account.namespace))
        if account.metadata.deletion_timestamp is not None or quota is None:
            return False
        return overcharged(quota, live) or not in_force(quota, cap_of(account, self._settings.tiers))

    async def _hold(self, account: Account) -> Account:
        """Add the finalizer, and write the public id down so that a restored backup keeps it."""
        meta = account.metadata
        patch: dict[str, Any] = {}
        if ACCOUNT_FINALIZER not in meta.finalizers:
            patch["finalizers"] = [*meta.finalizers, ACCOUNT_FINALIZER]
        if ANNOTATION_ID not in meta.annotations:
            patch["annotations"] = {ANNOTATION_ID: account.id}
        if not patch:
            return account
        body = {"metadata": {**patch, "uid": meta.uid, "resourceVersion": meta.resource_version}}
        return self._take(await self._kube.merge_patch(Account.KIND, None, meta.name, body)) or account

    async def _ensure_namespace(self, account: Account) -> NamespaceState:
        state = await self._namespace_state(account)
        if state is not NamespaceState.MISSING:
            return state
        try:
            await self._kube.create(NAMESPACE, None, build_namespace(account.metadata.name, account.namespace))
        except AlreadyExists:
            return await self._namespace_state(account)
        logger.info("namespace created", account=account.metadata.name, namespace=account.namespace)
        return NamespaceState.OURS

    async def _namespace_state(self, account: Account) -> NamespaceState:
        try:
            body: Body | None = await self._kube.get(NAMESPACE, None, account.namespace)
        except NotFound:
            body = None
        return state_of(body, account.metadata.name)

    async def _not_ready(self, account: Account, state: NamespaceState) -> float | None:
        if state is NamespaceState.TERMINATING:
            await self._report(account, "False", "NamespaceTerminating", f"{account.namespace} is being deleted")
            return LOOK_AGAIN
        # Labelling it is no way out: only the operator may set our label.
        message = f"namespace {account.namespace} belongs to somebody else: delete it, or choose another name"
        await self._report(account, "False", "NamespaceTaken", message)
        return None

    def _quota(self, account: Account) -> QuotaView | None:
        return self._store.quotas.get(account.namespace, QUOTA_NAME)

    async def _ensure_quota(self, account: Account, cap: int) -> None:
        quota = self._quota(account)
        if quota is None:
            await self._apply_quota(account, cap, None)
        elif quota.spec_limit != cap:
            await self._apply_quota(account, cap, quota.shaken)

    async def _apply_quota(self, account: Account, cap: int, shaken: int | None) -> None:
        name, namespace = account.metadata.name, account.namespace
        body = build_quota(name, namespace, cap) if shaken is None else build_quota(name, namespace, cap, shaken)
        self._store.quotas.apply(await self._kube.apply(QUOTA, namespace, QUOTA_NAME, body, FIELD_MANAGER))

    async def _report(
        self, account: Account, ready: str, reason: str, message: str, limit: int | None = None
    ) -> None:
        """Write the status if it says anything new."""
        status, generation = account.status, account.metadata.generation
        old = next((c for c in status.conditions if c.type == "Ready"), None)
        same = old is not None and (old.status, old.reason, old.observed_generation) == (ready, reason, generation)
        if same and status.limit == limit and status.namespace == account.namespace:
            return
        changed = old is None or old.status != ready
        condition = Condition(
            type="Ready",
            status=ready,
            reason=reason,
            message=message,
            last_transition_time=format_time(now()) if old is None or changed else old.last_transition_time,
            observed_generation=generation,
        )
        patch = {
            "metadata": {"uid": account.metadata.uid},
            "status": {
                "namespace": account.namespace,
                "limit": limit,
                "observedGeneration": generation,
                "conditions": [msgspec.to_builtins(condition)],
            },
        }
        self._take(await self._kube.merge_patch(Account.KIND, None, account.metadata.name, patch, "status"))

    # -- removal

    async def _remove(self, account: Account) -> float | None:
        """End the account's sessions, then remove its namespace, then let the account go."""
        if ACCOUNT_FINALIZER not in account.metadata.finalizers:
            return None
        state = await self._namespace_state(account)
        if state is NamespaceState.OURS:
            await self._ensure_quota(account, 0)
            if await self._end_sessions(account):
                return LOOK_AGAIN
            await self._kube.delete(NAMESPACE, None, account.namespace)
            logger.info("namespace deleted", account=account.metadata.name, namespace=account.namespace)
        if state in (NamespaceState.OURS, NamespaceState.TERMINATING):
            return LOOK_AGAIN
        await self._release(account)
        return None

    async def _end_sessions(self, account: Account) -> int:
        """Delete the sessions that are left, by the API server's own account; return how many there are."""
        listing = await self._kube.list_objects(Session.KIND, account.namespace)
        items = listing.get("items") or []
        for item in items:
            meta = item["metadata"]
            if "deletionTimestamp" in meta:
                continue
            try:
                await self._kube.delete(Session.KIND, account.namespace, meta["name"], uid=meta["uid"])
            except (NotFound, Conflict):  # it is gone already
                continue
        return len(items)

    async def _release(self, account: Account) -> None:
        meta = account.metadata
        rest = [finalizer for finalizer in meta.finalizers if finalizer != ACCOUNT_FINALIZER]
        body = {"metadata": {"finalizers": rest, "uid": meta.uid, "resourceVersion": meta.resource_version}}
        try:
            await self._kube.merge_patch(Account.KIND, None, meta.name, body)
        except NotFound:
            return
        except Conflict:
            self._take(await self._kube.get(Account.KIND, None, meta.name))
            raise

    def _take(self, body: Body) -> Account | None:
        return self._store.accounts.apply(body)
