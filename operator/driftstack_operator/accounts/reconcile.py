"""Gives each Account its namespace, quota and role bindings, and takes them away again.

An account is Ready only when the API server enforces its quota: before that, creates are refused or uncounted.
"""

from __future__ import annotations

from typing import Any, Final

from driftstack_common.kinds import Account
from driftstack_common.kube.client import NAMESPACE, Body, KubeClient
from driftstack_common.kube.errors import AlreadyExists, NotFound
from driftstack_common.logging import get_logger
from driftstack_common.names import ACCOUNT_FINALIZER, ANNOTATION_ID
from driftstack_common.times import now
from driftstack_operator.accounts import conditions
from driftstack_operator.accounts.binding import components_of
from driftstack_operator.accounts.bindings import Bindings
from driftstack_operator.accounts.conditions import Ready
from driftstack_operator.accounts.live import LiveCounts
from driftstack_operator.accounts.namespace import NamespaceState, build_namespace, held_by, state_of
from driftstack_operator.accounts.patience import Patience
from driftstack_operator.accounts.quotas import Quotas
from driftstack_operator.accounts.removal import Removal
from driftstack_operator.policy import cap_of
from driftstack_operator.settings import Settings
from driftstack_operator.store import Store

TELL_AFTER: Final = 5.0
"""Seconds that a removal may take before the account's condition says what it waits for."""

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
        self.quotas = Quotas(kube, store, settings.object_quotas)
        self.live = LiveCounts()
        self._bindings = Bindings(
            kube, store, components_of(settings.system_namespace) if settings.webhooks else {}
        )
        self.patience = Patience()
        self._removal = Removal(kube, store, self.quotas)

    async def reconcile(self, name: str) -> float | None:
        """Do all that can be done for the account now; return when to look again, seconds."""
        account = self._store.accounts.get("", name)
        if account is None:
            self._forget(name)
            return None
        if account.metadata.deletion_timestamp is not None:
            return await self._remove(account)
        elder = self._elder_of(account)
        if elder is not None:
            await self._report(account, conditions.id_taken(account.id, elder.metadata.name))
            return None
        account = await self._hold(account)
        state, body = await self._ensure_namespace(account)
        if state is NamespaceState.TERMINATING:
            return await self._wait_for_namespace(account, body)
        self.patience.forget(name)
        if state is NamespaceState.FOREIGN:
            await self._report(account, conditions.namespace_taken(account.namespace))
            return None
        return await self._tend(account)

    async def check(self, name: str) -> float | None:
        """Judge what an account has, but for its namespace; return when to look again, seconds."""
        account = self._store.accounts.get("", name)
        if account is None or account.metadata.deletion_timestamp is not None:
            self.live.forget(name)
            self.quotas.forget(name)
            return None
        return await self._tend(account) if account.ready else await self.reconcile(name)

    async def _tend(self, account: Account) -> float | None:
        moment = now()
        cap = cap_of(account, self._settings.tiers, moment)
        try:
            await self._bindings.tend(account)
        finally:  # a binding that can't be written holds no cap up
            ready, again = await self.quotas.tend(account, cap)
            count_due = await self._report(account, ready)
        expires_at = account.spec.overrides.expires_at
        expiry_due = (expires_at - moment).total_seconds() if expires_at is not None else 0.0
        return _soonest(again, count_due, expiry_due if expiry_due > 0 else None)

    def _elder_of(self, account: Account) -> Account | None:
        """Return the account that had this one's id before it; an id belongs to the oldest."""
        oldest = min(self._store.accounts.group(account.id).values(), key=_age, default=account)
        return oldest if oldest.metadata.uid != account.metadata.uid else None

    async def _hold(self, account: Account) -> Account:
        """Add the finalizer, and write the public id down so that a restored backup keeps it."""
        meta = account.metadata
        patch: dict[str, Any] = {}
        if ACCOUNT_FINALIZER not in meta.finalizers:
            patch["finalizers"] = [*meta.finalizers, ACCOUNT_FINALIZER]
        if not meta.annotations.get(ANNOTATION_ID):
            patch["annotations"] = {ANNOTATION_ID: account.id}
        if not patch:
            return account
        body = {"metadata": {**patch, "uid": meta.uid, "resourceVersion": meta.resource_version}}
        return self._take(await self._kube.merge_patch(Account.KIND, None, meta.name, body)) or account

    async def _ensure_namespace(self, account: Account) -> tuple[NamespaceState, Body | None]:
        name = account.metadata.name
        body = await self._namespace(account)
        if body is None:
            try:
                await self._kube.create(NAMESPACE, None, build_namespace(name, account.namespace))
            except AlreadyExists:
                body = await self._namespace(account)
            else:
                logger.info("namespace created", account=name, namespace=account.namespace)
                return NamespaceState.OURS, None
        return state_of(body, name), body

    async def _namespace(self, account: Account) -> Body | None:
        try:
            return await self._kube.get(NAMESPACE, None, account.namespace)
        except NotFound:
            return None

    async def _wait_for_namespace(self, account: Account, body: Body | None) -> float:
        """Somebody deleted the account's namespace; say so, and make it anew when it has gone."""
        name = account.metadata.name
        held = held_by(body) if self.patience.waited(name) >= TELL_AFTER else ""
        await self._report(account, conditions.namespace_goes(account.namespace, held))
        return self.patience.again(name)

    async def _remove(self, account: Account) -> float | None:
        name = account.metadata.name
        if ACCOUNT_FINALIZER not in account.metadata.finalizers:
            return None
        held = await self._removal.advance(account, await self._namespace(account))
        if held is None:
            self._forget(name)
            return None
        if self.patience.waited(name) >= TELL_AFTER:
            await self._report(account, conditions.leaving(held))
        return self.patience.again(name)

    async def _report(self, account: Account, ready: Ready | None) -> float | None:
        """Write the status if it says anything new; return in how many seconds the number of sessions is due.

        Args:
            ready: None when nothing is new to be said of it.
        """
        meta, live = account.metadata, len(self._store.sessions.group(account.namespace))
        due = self.live.due_in(meta.name, account.status.live, live)
        status = conditions.status_of(account, ready, now()) if ready is not None else None
        if status is None and (due is None or due > 0):
            return due
        body = {"metadata": {"uid": meta.uid}, "status": {**(status or {}), "live": live}}
        self._take(await self._kube.merge_patch(Account.KIND, None, meta.name, body, "status"))
        self.live.forget(meta.name)
        return None

    def _forget(self, name: str) -> None:
        self.live.forget(name)
        self.patience.forget(name)
        self.quotas.forget(name)

    def _take(self, body: Body) -> Account | None:
        return self._store.accounts.apply(body)


def _age(account: Account) -> tuple[str, bool, str]:
    """Return what orders accounts of one id by their creation.

    The API server's stamps are whole seconds: in one of them the account whose uid the id was made of comes first.
    """
    uid = account.metadata.uid
    return str(account.metadata.creation_timestamp), not account.id.endswith(uid), uid


def _soonest(*delays: float | None) -> float | None:
    return min((delay for delay in delays if delay is not None), default=None)
