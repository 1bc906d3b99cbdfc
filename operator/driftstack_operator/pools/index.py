"""The warm pods that may be taken, in memory: the choice of one costs no call and no search.

Only what an agent has said in this leader's term counts: a pod's labels can't tell whether an operator that died
had already given it away. The one that has waited longest goes first: it is the next to be replaced for its age.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

from driftstack_operator.pods.view import PodView


class WarmPods:
    """Pods whose agents have said that nobody holds them, and those that are being given to sessions.

    Args:
        usable: returns a waiting pod as it is now, by its uid; None when no session can use it.
    """

    def __init__(self, usable: Callable[[str], PodView | None]) -> None:
        self._usable = usable
        self._waiting: dict[str, dict[str, None]] = {}
        self._pools: dict[str, str] = {}
        self._taken: dict[str, str] = {}

    def offer(self, pod: PodView) -> None:
        """A pod is warm: it goes to the end of its pool's line."""
        self.forget(pod.uid)
        self._waiting.setdefault(pod.pool, {})[pod.uid] = None
        self._pools[pod.uid] = pod.pool

    def offered(self, uid: str) -> bool:
        """Whether a pod stands in line."""
        return uid in self._pools

    def pick(self, pool: str) -> PodView | None:
        """Return the pool's pod that is next; those that can't be used any more leave the line."""
        line = self._waiting.get(pool, {})
        while line:
            uid = next(iter(line))
            pod = self._usable(uid)
            if pod is not None:
                return pod
            self.forget(uid)
        return None

    def take(self, pod: PodView, session: str) -> None:
        """Keep a pod for a session, by uid: nobody else gets it until `release`."""
        self.forget(pod.uid)
        self._taken[session] = pod.uid

    def kept_for(self, session: str) -> PodView | None:
        """Return the pod that is kept for a session."""
        uid = self._taken.get(session)
        return self._usable(uid) if uid is not None else None

    def kept(self) -> set[str]:
        """Return the uids of pods that are kept for sessions."""
        return set(self._taken.values())

    def release(self, session: str) -> None:
        """A session has its pod, or needs none any more."""
        self._taken.pop(session, None)

    def forget(self, uid: str) -> None:
        """A pod leaves the line."""
        pool = self._pools.pop(uid, None)
        if pool is not None:
            del self._waiting[pool][uid]

    def keep(self, pool: str, uids: Collection[str]) -> None:
        """Other pods than these leave the pool's line: somebody else has removed them."""
        for uid in [uid for uid in self._waiting.get(pool, {}) if uid not in uids]:
            self.forget(uid)
