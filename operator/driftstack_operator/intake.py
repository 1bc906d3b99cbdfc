"""What every observation means: it goes into the store, and the keys that it concerns into the work queue.

Two observers call this, the watches (handlers) and the sweep; neither decides anything.
"""

from __future__ import annotations

from typing import Protocol, TypeVar

import msgspec

from driftstack_common.kinds import Account, Pool, Session
from driftstack_common.kube.client import Body
from driftstack_operator.pods.nodes import NodeView
from driftstack_operator.pods.view import PodView
from driftstack_operator.sessions.references import account_name
from driftstack_operator.sessions.tracks import Tracks
from driftstack_operator.store import Shelf, Store

T = TypeVar("T")


class Touch(Protocol):
    """Puts keys into the work queue."""

    def touch_session(self, uid: str) -> None:
        """Have a session reconciled."""

    def touch_account(self, name: str) -> None:
        """Have an account reconciled."""

    def touch_limits(self, name: str) -> None:
        """Have what an account has checked, but for its namespace."""

    def touch_pool(self, name: str) -> None:
        """Have a pool reconciled."""

    def touch_waiting(self, namespace: str = "") -> None:
        """Have sessions reconciled that have not started, of a namespace or all."""

    def session_gone(self, session: Session) -> None:
        """A session's object is gone."""


class Intake:
    """Takes observations of the watches in; `deleted` is a DELETED event, whose body is the object's last state."""

    def __init__(self, store: Store, tracks: Tracks, touch: Touch) -> None:
        self._store = store
        self._tracks = tracks
        self._touch = touch

    def session(self, body: Body, *, deleted: bool) -> None:
        """Take a BrowserSession in."""
        if deleted:
            self.session_left(self._store.sessions.remove(body["metadata"]["uid"]))
            return
        session = self._store.sessions.apply(body, watched=True)
        if session is not None:
            self.session_seen(session)

    def session_seen(self, session: Session) -> None:
        """A session is new or has changed; its first version is its place in the order of admission."""
        if self._tracks.get(session.uid) is None:
            self._touch.touch_limits(account_name(session.metadata.namespace))
        self._tracks.begin(session.uid, int(session.metadata.resource_version or 0))
        self._touch.touch_session(session.uid)

    def session_left(self, session: Session | None) -> None:
        """A session's object is gone; None when that was known."""
        if session is not None:
            self._touch.session_gone(session)

    def pod(self, body: Body, *, deleted: bool) -> None:
        """Take a browser pod in."""
        pod = self._store.pods.apply(body, watched=True)
        if deleted:
            self.pod_left(self._store.pods.remove(body["metadata"]["uid"]))
        elif pod is not None:
            self._pod_changed(pod)

    def _pod_changed(self, pod: PodView) -> None:
        if pod.session:
            self._touch.touch_session(pod.session)
        elif pod.pool:
            self._touch.touch_pool(pod.pool)

    def pod_left(self, pod: PodView | None) -> None:
        """A pod is gone; its session learns how it last looked."""
        if pod is None:
            return
        track = self._tracks.get(pod.session)
        replaced = track is None or pod.uid in track.given_up or self._store.pods.group(pod.session)
        if track is not None and not replaced:
            track.lost_pod = msgspec.structs.replace(pod, gone=True)
        self._pod_changed(pod)

    def account(self, body: Body, *, deleted: bool) -> None:
        """Take an Account in; what we wrote ourselves, when it spoke of the account as it is, is no news."""
        known = self._store.accounts.by_uid(body["metadata"]["uid"])
        account = _take(self._store.accounts, body, deleted=deleted)
        if account is None:
            return
        if deleted:
            self.account_left(account)
        elif known != account or account.status.observed_generation != account.metadata.generation:
            self.account_seen(account)

    def account_seen(self, account: Account) -> None:
        """An account is new or has changed; its cap may have."""
        self._touch.touch_account(account.metadata.name)
        self._touch.touch_waiting(account.namespace)

    def account_left(self, account: Account) -> None:
        """An account is gone; its id may be another's now."""
        self.account_seen(account)
        for other in self._store.accounts.group(account.id).values():
            self._touch.touch_account(other.metadata.name)

    def binding(self, body: Body, *, deleted: bool) -> None:
        """Take a RoleBinding of an account's members in."""
        binding = _take(self._store.bindings, body, deleted=deleted)
        if binding is not None:
            self._touch.touch_limits(binding.account)

    def pool(self, body: Body, *, deleted: bool) -> None:
        """Take a BrowserPool in; what we wrote ourselves is no news."""
        known = self._store.pools.by_uid(body["metadata"]["uid"])
        pool = _take(self._store.pools, body, deleted=deleted)
        if pool is not None and (deleted or known != pool):
            self.pool_seen(pool)

    def pool_seen(self, pool: Pool) -> None:
        """A pool is new, has changed or is gone: sessions may wait for it."""
        self._touch.touch_pool(pool.metadata.name)
        self._touch.touch_waiting()

    def archetype(self, body: Body, *, deleted: bool) -> None:
        """Take an Archetype in; nothing waits for one."""
        _take(self._store.archetypes, body, deleted=deleted)

    def quota(self, body: Body, *, deleted: bool) -> None:
        """Take an account's ResourceQuota in."""
        quota = _take(self._store.quotas, body, deleted=deleted)
        if quota is None or not quota.account:
            return
        account = self._store.accounts.get("", quota.account)
        if account is not None and account.ready and not deleted:
            self._touch.touch_limits(quota.account)
        else:
            self._touch.touch_account(quota.account)

    def node(self, body: Body, *, deleted: bool) -> None:
        """Take a Node in; kubelets report often, so only the loss of one concerns its sessions."""
        before = self._store.nodes.get("", body["metadata"]["name"])
        node = _take(self._store.nodes, body, deleted=deleted)
        if node is None:
            return
        if deleted:
            self.node_left(node)
        elif node.silent and (before is None or not before.silent):
            self._touch_node(node.name)

    def node_left(self, node: NodeView) -> None:
        """A node's object is gone, and with it what ran there."""
        self._store.lose_node(node.name)
        self._touch_node(node.name)

    def _touch_node(self, name: str) -> None:
        for pod in self._store.pods.values():
            if pod.node == name:
                self._pod_changed(pod)


def _take(shelf: Shelf[T], body: Body, *, deleted: bool) -> T | None:
    value = shelf.apply(body, watched=True)
    return (shelf.remove(body["metadata"]["uid"]) or value) if deleted else value
