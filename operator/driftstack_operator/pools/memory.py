"""What this operator remembers of pools; all of it can be lost and found again, but for the latest counts."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection
from typing import Final

from driftstack_common.kinds import Device, Pool, PoolStatus
from driftstack_common.times import now
from driftstack_operator.pods.view import PodView
from driftstack_operator.pools.demand import Demand
from driftstack_operator.reasons import End
from driftstack_operator.store import Store

FIRST_BACKOFF: Final = 1.0
LONGEST_BACKOFF: Final = 300.0
FORGIVEN: Final = 300.0
"""Seconds beyond the last back-off without a failure after which failures no longer count; a pod that never answers
takes more than a minute to fail."""
SETTLED: Final = 2.0
"""Seconds after the end of a pod within which the scheduler gives its room to another."""
USUAL_START: Final = 1.0
"""Seconds that a warm pod takes to start, before one has been seen to."""


class Memory:
    """One pool's: its counts, its failures, and how long its pods take to start.

    Attributes:
        blocked_until: before that no pod is made (monotonic seconds).
        desired: how many warm pods were wanted last.
        written_at: when the status was written.
        written: the status that was, and what the API server made of it: an older CRD drops what it doesn't know.
        short_since: since when the pool has lacked warm pods.
        device: what the last session that took a pod showed.
        problem: why the last pod that failed did; None after one has become warm.
        gave_way: see `Count`.
        unanswered: names of pods that were being made when the answer was lost.
    """

    def __init__(self, pool: Pool, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self.uid = pool.metadata.uid
        self.demand = Demand(clock)
        self.hits, self.misses = pool.status.hits, pool.status.misses
        self.problem: End | None = None
        self.gave_way = ""
        self.unanswered: set[str] = set()
        self.device: Device | None = None
        self.start_seconds = USUAL_START
        self.desired = 0
        self._went_at = -math.inf
        self.written_at = -math.inf
        self.written: tuple[PoolStatus, PoolStatus] | None = None
        self._failures = 0
        self.blocked_until = -math.inf
        self.short_since: float | None = None
        self._began: dict[str, float] = {}
        self._made: dict[str, float] = {}
        self._ran: dict[str, float] = {}

    def served(self, *, warm: bool) -> None:
        """A session became ready."""
        if warm:
            self.hits += 1
        else:
            self.misses += 1

    def count_short(self, *, short: bool) -> float:
        """Return for how many seconds the pool has lacked warm pods."""
        if not short:
            self.short_since = None
            self.gave_way = ""
            return 0.0
        now = self._clock()
        if self.short_since is None:
            self.short_since = now
        return now - self.short_since

    def settling(self, *, going: bool) -> bool:
        """Whether pods of the pool are going, or have gone just now."""
        if going:
            self._went_at = self._clock()
        return self._clock() - self._went_at < SETTLED

    def created(self, name: str) -> None:
        """A pod of this name is being made."""
        self._began[name] = self._made[name] = self._clock()

    def homeless(self, name: str) -> None:
        """A pod finds no node: its start has not begun, and doesn't tell how long starts take."""
        if name in self._began:
            self._began[name] = self._clock()

    def warmed(self, name: str) -> float | None:
        """A pod has become warm; return how many seconds that took, if it was made in this term."""
        self.problem = None
        self._ran.pop(name, None)
        began = self._began.pop(name, None)
        if began is None:
            return None
        took = self._clock() - began
        self.start_seconds += (took - self.start_seconds) / 4
        return took

    def failed(self, name: str, problem: End) -> None:
        """A pod could not be made, or is lost though nobody removed it: the next one waits, longer each time.

        Those that fail during such a wait were begun before it, mostly for the same cause: they count once.
        """
        now = self._clock()
        if now >= self.blocked_until:
            if now > self.blocked_until + FORGIVEN:
                self._failures = 0
            self.blocked_until = now + min(FIRST_BACKOFF * 2**self._failures, LONGEST_BACKOFF)
            self._failures = min(self._failures + 1, 16)
        self.problem = problem
        self.gone(name)

    def gone(self, name: str) -> None:
        """A pod is not waited for any more."""
        self._began.pop(name, None)
        self._made.pop(name, None)
        self._ran.pop(name, None)

    def keep(self, names: Collection[str]) -> None:
        """Forget the pods that have other names than these: somebody else has removed them."""
        self._began = {name: at for name, at in self._began.items() if name in names}
        self._made = {name: at for name, at in self._made.items() if name in names}
        self._ran = {name: at for name, at in self._ran.items() if name in names}
        self.unanswered.difference_update(names)

    def age(self, pod: PodView) -> float:
        """Return how old a pod is, seconds.

        One that was made in this term is judged by no other clock than this operator's: two that differ must not
        have every new pod replaced.
        """
        made = self._made.get(pod.name)
        if made is not None:
            return self._clock() - made
        return (now() - pod.created_at).total_seconds() if pod.created_at is not None else 0.0

    def ran(self, name: str) -> float:
        """Return for how many seconds a pod has been seen to run."""
        return self._clock() - self._ran.setdefault(name, self._clock())

    def wrote(self, status: PoolStatus, stored: PoolStatus | None) -> None:
        """The status was written; stored is what became of it."""
        self.written_at = self._clock()
        self.written = (status, stored) if stored is not None else None

    def since_written(self) -> float:
        """Return for how many seconds the status has not been written."""
        return self._clock() - self.written_at

    def blocked_for(self) -> float:
        """Return in how many seconds pods may be made again."""
        return max(0.0, self.blocked_until - self._clock())


class Memories:
    """What is remembered of each pool that there is.

    Args:
        store: the pools.
        namespace: where they are.
    """

    def __init__(self, store: Store, namespace: str) -> None:
        self._store = store
        self._namespace = namespace
        self._memories: dict[str, Memory] = {}

    def pool(self, name: str) -> Pool | None:
        """Return the pool of this name; None while there is none, or it is being deleted."""
        pool = self._store.pools.get(self._namespace, name)
        return pool if pool is not None and pool.metadata.deletion_timestamp is None else None

    def of(self, name: str) -> Memory | None:
        """Return what is remembered of the pool that has this name now; None when there is none."""
        pool = self.pool(name)
        if pool is None:
            self._memories.pop(name, None)
            return None
        memory = self._memories.get(name)
        if memory is None or memory.uid != pool.metadata.uid:
            memory = self._memories[name] = Memory(pool)
        return memory
