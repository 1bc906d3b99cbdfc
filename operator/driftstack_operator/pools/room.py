"""Whether a session's pod waits for room, and which warm pods give way to it.

Nodes may be full of pods that wait for whoever comes, while somebody has come: a session of another pool. Its own
pod can't push them aside (with a priority that lets it, it would push aside those that serve, too), so the operator
removes them: all that wait for a node themselves, since they would take what is freed, and of others one at a time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable

from driftstack_common.kinds import Pool, PoolSpec
from driftstack_operator.pods.nodes import suits
from driftstack_operator.pods.view import PodView
from driftstack_operator.store import Store


class Room:
    """The room that sessions' pods wait for.

    Args:
        store: what is observed.
        pool: returns the pool of this name, None when there is none.
    """

    def __init__(self, store: Store, pool: Callable[[str], Pool | None]) -> None:
        self._store = store
        self._pool = pool

    def lacked_by(self, pod: PodView) -> bool:
        """Whether this is a session's own pod that waits for room, and some node could have it."""
        if pod.pooled or pod.deleting or not pod.lacks_room:
            return False
        return any(self.on(node.name, pod) for node in self._store.nodes.values())

    def homeless(self) -> list[PodView]:
        """Return sessions' own pods that no node takes."""
        pods = (pod for uid in self._store.starting() for pod in self._store.pods.group(uid).values())
        return [pod for pod in pods if not pod.pooled and pod.unschedulable is not None]

    def crowded(self, spec: PoolSpec) -> bool:
        """Whether a session's pod waits for room that a pod of this pool might take."""
        return any(self._shared(pod, spec) for pod in self.homeless() if self.lacked_by(pod))

    def made_by(self, warm: PodView, pod: PodView) -> bool:
        """Whether a session's pod may have a node the sooner when a warm one goes."""
        if warm.node:
            return self.on(warm.node, pod)
        pool = self._pool(warm.pool)
        return pool is None or self._shared(pod, pool.spec)

    def on(self, node: str, pod: PodView) -> bool:
        """Whether room on a node can be this pod's."""
        pool, view = self._pool(pod.pool), self._store.nodes.get("", node)
        return pool is not None and view is not None and not view.silent and suits(view, pool.spec)

    def _shared(self, pod: PodView, spec: PoolSpec) -> bool:
        return any(suits(node, spec) and self.on(node.name, pod) for node in self._store.nodes.values())


def in_order(waiting: Iterable[PodView], ready: Collection[str], pool: str, near: str) -> list[PodView]:
    """Return the warm pods that may give way to a pod of a pool, the first one first. Pure.

    Of its own pool, only those without a node: the session gets any other as soon as it is warm. Of the rest, those
    go first that are not warm yet, then those on the node with most of them, where a large pod has room soonest.

    Args:
        ready: uids of those that are warm.
        near: the node where the last one gave way to it.
    """
    some = [pod for pod in waiting if not pod.node or pod.pool != pool]
    crowd = Counter(pod.node for pod in some)
    return sorted(
        some, key=lambda pod: (bool(pod.node), pod.node != near, pod.uid in ready, -crowd[pod.node], pod.name)
    )
