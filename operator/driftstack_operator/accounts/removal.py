"""How an account leaves: its sessions end, deliveries are sent, its namespace goes, then the account itself.

Nothing of it is remembered: whatever an operator that died had begun is found and finished.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final

from driftstack_common.kinds import Account, Session, WebhookDelivery
from driftstack_common.kube.client import NAMESPACE, Body, KubeClient
from driftstack_common.kube.errors import Conflict, KindGone, NotFound
from driftstack_common.logging import get_logger
from driftstack_common.names import ACCOUNT_FINALIZER, FINALIZER
from driftstack_common.times import now, parse_time
from driftstack_operator.accounts.namespace import NamespaceState, held_by, state_of
from driftstack_operator.accounts.quotas import Quotas
from driftstack_operator.store import Store

DRAIN: Final = timedelta(seconds=30)
"""How long the first attempt at a delivery is waited for."""
UNTRIED: Final = "status.phase!=delivered,status.phase!=failed,status.phase!=dlq"
PAGE: Final = 500
NAMED: Final = 3
"""Sessions that the condition of an account names, of those that hold it up."""

logger = get_logger(__name__)


class Removal:
    """Removes accounts.

    Args:
        kube: client to read and write with.
        store: learns what each write answered.
        quotas: closes the account.
    """

    def __init__(self, kube: KubeClient, store: Store, quotas: Quotas) -> None:
        self._kube = kube
        self._store = store
        self._quotas = quotas

    async def advance(self, account: Account, namespace: Body | None) -> str | None:
        """Do what can be done now; return what it waits for, None when the account is let go.

        Args:
            namespace: of the account, as the API server has it.
        """
        state = state_of(namespace, account.metadata.name)
        if state is NamespaceState.OURS:
            await self._quotas.ensure(account, 0)
            left = await self._end_sessions(account)
            if left:
                return _waits_for(left)
            unsent = await self._unsent(account)
            if unsent:
                return f"waits at most {DRAIN.seconds} s for {unsent} webhook deliveries to be tried"
            await self._kube.delete(NAMESPACE, None, account.namespace)
            logger.info("namespace deleted", account=account.metadata.name, namespace=account.namespace)
        if state in (NamespaceState.OURS, NamespaceState.TERMINATING):
            held = held_by(namespace)
            return f"waits for namespace {account.namespace} to go" + (f": {held}" if held else "")
        await self._release(account)
        return None

    async def _end_sessions(self, account: Account) -> list[dict[str, Any]]:
        """Delete the sessions that are left, by the API server's own account; return the metadata of all."""
        try:
            listing = await self._kube.list_metadata(Session.KIND, account.namespace)
        except KindGone:  # with their kind, the sessions are gone
            return []
        left = [item["metadata"] for item in listing.get("items") or []]
        for meta in left:
            if "deletionTimestamp" in meta:
                continue
            try:
                await self._kube.delete(Session.KIND, account.namespace, meta["name"], uid=meta["uid"])
            except (NotFound, Conflict):  # it is gone already
                continue
        return left

    async def _unsent(self, account: Account) -> int:
        """Return how many deliveries of late have not been tried: the last ends of sessions are told of."""
        try:
            listing = await self._kube.list_metadata(
                WebhookDelivery.KIND, account.namespace, fieldSelector=UNTRIED, limit=PAGE
            )
        except KindGone:
            return 0
        made = [parse_time(item["metadata"]["creationTimestamp"]) for item in listing.get("items") or []]
        return sum(now() - moment < DRAIN for moment in made)

    async def _release(self, account: Account) -> None:
        meta = account.metadata
        rest = [finalizer for finalizer in meta.finalizers if finalizer != ACCOUNT_FINALIZER]
        body = {"metadata": {"finalizers": rest, "uid": meta.uid, "resourceVersion": meta.resource_version}}
        try:
            await self._kube.merge_patch(Account.KIND, None, meta.name, body)
        except NotFound:
            return
        except Conflict:
            self._store.accounts.apply(await self._kube.get(Account.KIND, None, meta.name))
            raise


def _waits_for(left: list[dict[str, Any]]) -> str:
    """Return which sessions hold the account, and what holds them."""
    named = [f"{meta['name']}{_finalizers(meta)}" for meta in left[:NAMED]]
    more = f" and {len(left) - NAMED} more" if len(left) > NAMED else ""
    return f"waits for its sessions to go: {', '.join(named)}{more}"


def _finalizers(meta: dict[str, Any]) -> str:
    foreign = [finalizer for finalizer in meta.get("finalizers") or [] if finalizer != FINALIZER]
    return f" (held by the finalizer {', '.join(foreign)})" if foreign else ""
