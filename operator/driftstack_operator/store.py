"""What was observed: the objects of each kind as watches, the sweep's LISTs and our own writes last showed them.

Three sources feed it without any order between them, so every object carries its resourceVersion and an older one
never replaces a newer (the API server's versions are comparable numbers, KEP-5504). Removed objects are remembered
for a while, so that a late answer does not bring one back.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable
from typing import Any, Final, Generic, TypeVar

import msgspec

from driftstack_common.kinds import Account, Archetype, Pool, Session, from_body
from driftstack_common.kube.client import Body
from driftstack_common.logging import get_logger
from driftstack_operator.accounts.binding import BindingView, read_binding
from driftstack_operator.accounts.quota import QuotaView, read_quota
from driftstack_operator.pods.nodes import NodeView, read_node
from driftstack_operator.pods.view import PodView, read_pod

REMEMBERED: Final = 300.0
"""Seconds that a removed object's uid is remembered."""

STARTING: Final = "starting/"
"""Prefix of the groups of sessions without a browser: of a namespace, and of all."""

T = TypeVar("T")
Key = tuple[str, str]
"""Namespace (empty for cluster-scoped objects) and name."""

logger = get_logger(__name__)


class Entry(msgspec.Struct, Generic[T]):
    """One object with its version."""

    uid: str
    key: Key
    version: int
    value: T


class Shelf(Generic[T]):
    """The objects of one kind.

    Args:
        read: makes the stored value of a body.
        groups: names of the groups that a value is also found under.
    """

    def __init__(self, read: Callable[[Body], T], groups: Callable[[T], tuple[str, ...]] = lambda _: ()) -> None:
        self._read = read
        self._groups_of = groups
        self._entries: dict[str, Entry[T]] = {}
        self._by_key: dict[Key, str] = {}
        self._groups: dict[str, dict[str, T]] = {}
        self._removed: dict[str, float] = {}
        self.delivered: dict[str, int] = {}
        """Newest version of each object that the watch itself brought, by uid."""

    def apply(self, body: Body, *, watched: bool = False) -> T | None:
        """Take an object in; return its value, or None when it is older than what is known, or unreadable."""
        uid, version = body["metadata"].get("uid", ""), version_of(body)
        if watched:
            self.delivered[uid] = max(version, self.delivered.get(uid, 0))
        known = self._entries.get(uid)
        if uid in self._removed or (known is not None and version < known.version):
            return None
        try:
            value = self._read(body)
        except (msgspec.ValidationError, KeyError, ValueError) as error:
            logger.error("unreadable object", object=body["metadata"].get("name"), error=str(error))
            return None
        self._put(Entry(uid, key_of(body), version, value))
        return value

    def written(self, body: Body) -> T | None:
        """Take in what a write of ours has just answered: it exists, though a watch by labels may have lost it."""
        self._removed.pop(body["metadata"]["uid"], None)
        return self.apply(body)

    def remove(self, uid: str) -> T | None:
        """Forget an object that is gone; return what it was."""
        self._removed[uid] = time.monotonic()
        self.delivered.pop(uid, None)
        entry = self._entries.pop(uid, None)
        if entry is None:
            return None
        if self._by_key.get(entry.key) == uid:
            del self._by_key[entry.key]
        self._leave_groups(entry)
        return entry.value

    def take(self, items: Iterable[Body]) -> list[T]:
        """Take a page of a LIST in; return what it changed."""
        return [value for item in items if self._is_news(item) and (value := self.apply(item)) is not None]

    def settle(self, listed: Collection[str], listed_at: int) -> list[T]:
        """A LIST of this version is complete, these uids are all that it had; return what it showed to be gone."""
        lost = [e.uid for e in self._entries.values() if e.uid not in listed and e.version <= listed_at]
        gone = [value for uid in lost if (value := self.remove(uid)) is not None]
        self._forget_removed()
        # What came after the removal of its object, whose DELETED a new list may have swallowed.
        self.delivered = {uid: version for uid, version in self.delivered.items() if uid in self._entries}
        return gone

    def get(self, namespace: str, name: str) -> T | None:
        """Return the object of this name."""
        uid = self._by_key.get((namespace, name))
        return self._entries[uid].value if uid is not None else None

    def by_uid(self, uid: str) -> T | None:
        """Return the object of this uid."""
        entry = self._entries.get(uid)
        return entry.value if entry is not None else None

    def group(self, name: str) -> dict[str, T]:
        """Return the objects of a group by uid; don't change it."""
        return self._groups.get(name, {})

    def values(self) -> Iterable[T]:
        """Return all objects."""
        return [entry.value for entry in self._entries.values()]

    def __len__(self) -> int:
        return len(self._entries)

    def _is_news(self, body: Body) -> bool:
        known = self._entries.get(body["metadata"]["uid"])
        return known is None or known.version < version_of(body)

    def _put(self, entry: Entry[T]) -> None:
        old = self._entries.get(entry.uid)
        if old is not None:
            self._leave_groups(old)
        self._entries[entry.uid] = entry
        self._by_key[entry.key] = entry.uid
        for group in self._groups_of(entry.value):
            self._groups.setdefault(group, {})[entry.uid] = entry.value

    def _leave_groups(self, entry: Entry[T]) -> None:
        for group in self._groups_of(entry.value):
            members = self._groups.get(group, {})
            members.pop(entry.uid, None)
            if not members:
                self._groups.pop(group, None)

    def _forget_removed(self) -> None:
        limit = time.monotonic() - REMEMBERED
        self._removed = {uid: when for uid, when in self._removed.items() if when > limit}


class Store:
    """All shelves.

    Sessions and bindings are grouped by namespace, accounts by id, pods by their session's uid or, without one, by
    their pool (see `pool_group`).
    """

    def __init__(self) -> None:
        self.sessions: Shelf[Session] = Shelf(_reader(Session), _groups_of_session)
        self.pods: Shelf[PodView] = Shelf(read_pod, _groups_of_pod)
        self.accounts: Shelf[Account] = Shelf(_reader(Account), lambda account: (account.id,))
        self.bindings: Shelf[BindingView] = Shelf(read_binding, lambda binding: (binding.namespace,))
        self.pools: Shelf[Pool] = Shelf(_reader(Pool))
        self.archetypes: Shelf[Archetype] = Shelf(_reader(Archetype))
        self.nodes: Shelf[NodeView] = Shelf(self._read_node)
        self.quotas: Shelf[QuotaView] = Shelf(read_quota)
        self.lost_nodes: set[str] = set()
        """Names of nodes that were seen to go, while pods or sessions are on them."""
        self._silent: dict[str, float] = {}
        """Since when nodes were seen to be silent, monotonic seconds, by name."""

    def starting(self, namespace: str = "") -> dict[str, Session]:
        """Return the sessions that have no browser yet by uid, of a namespace or all; few, however many live."""
        return self.sessions.group(STARTING + namespace)

    def lose_node(self, name: str) -> None:
        """A node's object is gone, and with it what runs there; those that nothing is on any more are forgotten."""
        occupied = {pod.node for pod in self.pods.values()}
        occupied |= {s.status.browser.node for s in self.sessions.values() if s.status.browser is not None}
        self.lost_nodes = (self.lost_nodes | {name}) & occupied
        self._silent.pop(name, None)

    def node_lost_in(self, name: str, patience: float) -> float | None:
        """Return the seconds after which what runs on this node is lost, None while it is well.

        A silent node is not lost at once: when the API server was away, nodes are called silent before they had the
        time to report again. One never heard of is well: its event may be on its way.
        """
        if self.nodes.get("", name) is None:
            return 0.0 if name in self.lost_nodes else None
        since = self._silent.get(name)
        return None if since is None else max(0.0, since + patience - time.monotonic())

    def _read_node(self, body: Body) -> NodeView:
        node = read_node(body)
        if node.silent:
            self._silent.setdefault(node.name, time.monotonic())
        else:
            self._silent.pop(node.name, None)
        return node


def pool_group(pool: str) -> str:
    """Return the name of the group of a pool's warm pods; no uid looks like it."""
    return f"pool/{pool}"


def serving_group(pool: str) -> str:
    """Return the name of the group of a pool's pods that serve sessions."""
    return f"serving/{pool}"


def _groups_of_pod(pod: PodView) -> tuple[str, ...]:
    return (pod.session, serving_group(pod.pool)) if pod.session else (pool_group(pod.pool),)


def version_of(body: Body) -> int:
    """Return the resourceVersion as a number."""
    return int(body["metadata"].get("resourceVersion") or 0)


def key_of(body: Body) -> Key:
    """Return namespace and name."""
    return body["metadata"].get("namespace") or "", body["metadata"]["name"]


def _groups_of_session(session: Session) -> tuple[str, ...]:
    namespace = session.metadata.namespace or ""
    if session.status.browser is not None:
        return (namespace,)
    return namespace, STARTING + namespace, STARTING


def _reader(kind: Any) -> Callable[[Body], Any]:
    return lambda body: from_body(kind, body)
