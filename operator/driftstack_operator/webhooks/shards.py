"""Which dispatcher sends to which endpoint: each endpoint is in one of a few shards, and a Lease gives it to one.

A Lease (see leadership.elector) is what makes it one: who holds it stops before another begins. So a delivery is
not sent twice when dispatchers come, go or die, unless one dies between sending and writing that down.

A replica takes its fair share at once, and more only after a moment in which others could; what it holds beyond its
share it gives back now and then, for a replica that has come since.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Awaitable, Callable, Collection
from typing import Final

from driftstack_common.kube.client import KubeClient
from driftstack_common.logging import get_logger
from driftstack_operator.leadership.elector import Elector
from driftstack_operator.leadership.lease import steady
from driftstack_operator.leadership.terms import Terms

SHARDS: Final = 4
"""Never to be changed while dispatchers run: the old and the new would share the endpoints differently."""
LEASE_SECONDS: Final = 12
COURTESY: Final = 3.0
"""How long a free shard is left to replicas that have less than their share, seconds."""
SURPLUS: Final = 60.0
"""How long a shard beyond the share is kept, seconds."""
STAGGER: Final = 0.3

logger = get_logger(__name__)


def shard_of(uid: str) -> int:
    """Return the shard of the endpoint with this uid."""
    return zlib.crc32(uid.encode()) % SHARDS


def lease_name(shard: int) -> str:
    """Return the name of a shard's Lease."""
    return f"driftstack-webhooks-{shard}"


class _Candidate(Elector):
    """Waits for its turn before it asks for the Lease."""

    turn: Callable[[], Awaitable[None]]

    async def acquire(self) -> None:
        await self.turn()
        await super().acquire()


class Shards:
    """The shards of this process; `run` it.

    Args:
        kube: client for the Leases.
        namespace: where they are.
        identity: name of this process, the same after a restart in its pod: what it held is its own again at once.
        replicas: how many dispatchers share the shards.
        proven: waits until the copies hold all that was stored before the call.
        opened: told that deliveries may be sent that might not before.
        drained: waits until nothing is in hand at the endpoints for which its argument is true.
        settled: says the last of endpoints that are still owned.
        clock: monotonic seconds that don't stop with the process.
    """

    def __init__(
        self,
        kube: KubeClient,
        *,
        namespace: str,
        identity: str,
        replicas: int,
        proven: Callable[[], Awaitable[None]],
        opened: Callable[[], None],
        drained: Callable[[Callable[[str], bool]], Awaitable[None]],
        settled: Callable[[], Awaitable[None]],
        clock: Callable[[], float] = steady,
    ) -> None:
        self._proven = proven
        self._opened = opened
        self._drained = drained
        self._settled = settled
        self._share = -(-SHARDS // replicas)
        self._known = [False] * SHARDS
        self._sending = [False] * SHARDS
        self._stop = asyncio.Event()
        self._ended = asyncio.Event()
        self._first = zlib.crc32(identity.encode()) % SHARDS
        self._electors = [
            _Candidate(
                kube,
                namespace=namespace,
                identity=identity,
                seconds=LEASE_SECONDS,
                name=lease_name(shard),
                clock=clock,
            )
            for shard in range(SHARDS)
        ]
        for shard, elector in enumerate(self._electors):
            elector.turn = lambda shard=shard: self._turn(shard)  # type: ignore[misc] # binds the shard

    @property
    def held(self) -> int:
        """How many shards this process holds."""
        return sum(elector.leads for elector in self._electors)

    def owns(self, uid: str) -> bool:
        """Whether the endpoint of this uid is this process's, and all that was stored of it known."""
        shard = shard_of(uid)
        return self._known[shard] and self._electors[shard].leads

    def sends(self, uid: str) -> bool:
        """Whether this process may begin to send to it."""
        return self._sending[shard_of(uid)] and self.owns(uid)

    async def run(self) -> None:
        """Hold shards until stopped.

        Raises:
            ExceptionGroup: a part failed.
        """
        async with asyncio.TaskGroup() as group:
            for shard, elector in enumerate(self._electors):
                group.create_task(Terms(elector, _Holding(self, shard)).run(self._stop), name=f"shard-{shard}")
        self._ended.set()

    async def stop(self) -> None:
        """Send nothing more; once nothing is in hand, give all shards back."""
        await self._finish(range(SHARDS))
        self._stop.set()
        await self._ended.wait()

    async def hold(self, shard: int) -> None:
        """Work on a shard for as long as it should be held; return when it should be given back."""
        await self._proven()
        self._known[shard] = self._sending[shard] = True
        logger.info("shard opened", shard=shard)
        self._opened()
        await asyncio.sleep(SURPLUS)
        while self.held <= self._share:  # noqa: ASYNC110 - a slow clock, no event
            await asyncio.sleep(SURPLUS)
        await self._finish([shard])

    def close(self, shard: int) -> None:
        """The shard is, or may be, another's."""
        self._known[shard] = self._sending[shard] = False

    async def _finish(self, shards: Collection[int]) -> None:
        for shard in shards:
            self._sending[shard] = False
        await self._drained(lambda uid: shard_of(uid) in shards)
        await self._settled()

    async def _turn(self, shard: int) -> None:
        """Wait as is due to the others; the shards of one process are taken one after the other."""
        await asyncio.sleep((shard - self._first) % SHARDS * STAGGER)
        if self.held >= self._share:
            await asyncio.sleep(COURTESY)


class _Holding:
    """The office (see Terms) of one shard's holder."""

    def __init__(self, shards: Shards, shard: int) -> None:
        self._shards = shards
        self._shard = shard

    def begin(self) -> None:
        """Nothing is remembered from another term."""

    async def work(self) -> None:
        """Hold the shard."""
        await self._shards.hold(self._shard)

    async def close(self) -> None:
        """Whoever stops has seen to what was in hand."""

    async def end(self) -> None:
        """The shard is held no more."""
        self._shards.close(self._shard)
