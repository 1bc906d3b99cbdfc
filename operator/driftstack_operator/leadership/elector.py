"""Takes, keeps and gives back the Lease, and stands before every write: only its holder may write.

Clocks of two machines are never compared. A holder counts from the moment it *sent* a renewal, and stops a little
before the lease's length is over; another takes the lease when it has *seen* no change for that length. What it has
seen was stored after it was sent, so the first has stopped before the second begins.

A lease must be longer than the API server takes to answer. So its length, which is part of it, grows while answers
are slow, and shrinks again little by little: under load slow answers and prompt ones alternate, and each lease lost
means a burst of work that makes the next answers slow.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Awaitable, Callable
from typing import Any, Final

from driftstack_common.kube.client import LEASE, Body, KubeClient
from driftstack_common.kube.errors import AlreadyExists, Conflict, KubeError, NotFound, Unreachable
from driftstack_common.logging import get_logger
from driftstack_operator.leadership.lease import NAME, Lease, read_lease, released, renewed, steady, taken

# Shares of the lease's length.
VALID: Final = 0.85
"""How long its holder relies on it: clocks may run at different speeds, and a write may be on its way."""
RENEW: Final = 0.25
RETRY: Final = 0.05
TRY: Final = 2 / 3
"""How much of the time that is left one renewal may take: another one must still be possible."""
ROUNDS: Final = 4.0
"""Answers, each as slow as the last, that have room in a lease."""
FADE: Final = 0.8
"""Of the slowest answer, per prompt one: where answers are slow now and then, the longer lease stays for long."""
LONGEST: Final = 30
RELEASE_SECONDS: Final = 0.5

logger = get_logger(__name__)


class NotLeading(Unreachable):
    """The write was not sent: another operator leads, or may lead by now."""


class Elector:
    """One candidate.

    Args:
        kube: client without a guard.
        namespace: where the Lease is.
        identity: name of this process, of no other one before or after it.
        seconds: the lease's length while the API server answers promptly.
        name: of the Lease.
        clock: monotonic seconds that don't stop with the process.
    """

    def __init__(
        self,
        kube: KubeClient,
        *,
        namespace: str,
        identity: str,
        seconds: int,
        name: str = NAME,
        clock: Callable[[], float] = steady,
    ) -> None:
        self.identity = identity
        self._kube = kube
        self._namespace = namespace
        self._name = name
        self._seconds = seconds
        self._clock = clock
        self._lease: Lease | None = None
        self._since = clock()
        self._until = -math.inf
        self._slowness = 0.0
        self._changed = asyncio.Event()
        self._asked_for_it = False

    # -- for those who want to write

    @property
    def leads(self) -> bool:
        """Whether this process may write now."""
        return self._clock() < self._until

    def before(self, write: str) -> None:
        """Let a leader's write pass; NotLeading for any other."""
        if not self.leads:
            raise NotLeading(f"{write}: this operator does not lead")

    def after(self, write: str) -> None:
        """Nothing follows from a write that was accepted."""

    # -- for the one who runs it

    async def acquire(self) -> None:
        """Return once the lease is ours; cancel it to give up, and call `withdraw` then."""
        watching = asyncio.create_task(self._watch(), name="lease-watch")
        try:
            while (wait := await self.attempt()) is not None:
                await self._change(wait)
        finally:
            watching.cancel()
            await asyncio.wait([watching])

    async def attempt(self) -> float | None:
        """Take the lease if it is free; return None when it is ours, else seconds after which to try again."""
        self._until = -math.inf  # a shorter lease may be stored, and its answer be lost
        begun, length = self._clock(), self._length
        try:
            async with asyncio.timeout(length * VALID):  # a later answer would be worth nothing
                return await self._attempt(begun, length)
        except (KubeError, TimeoutError) as error:
            logger.debug("the lease can't be taken yet", error=str(error))
            return self._seconds * RETRY

    async def hold(self) -> str:
        """Renew until the lease is lost; return why it was."""
        pause, problem = self._length * RENEW, "the process stood still"
        while (left := self._until - self._clock()) > 0:
            await asyncio.sleep(min(pause, left))
            left = self._until - self._clock()
            if left <= 0:
                break
            try:
                async with asyncio.timeout(max(left * TRY, min(left, 2 * self._slowness))):
                    await self._renew()
                pause = self._length * RENEW
            except (Conflict, AlreadyExists) as error:
                pause, problem = 0.0, str(error)
                if await self._is_others():
                    problem = "another operator took it"
                    break
            except (KubeError, TimeoutError) as error:
                pause, problem = self._seconds * RETRY, str(error) or "no answer in time"
        self._until = -math.inf
        return problem

    async def withdraw(self) -> None:
        """Give back what was asked for lately and may be ours, though no answer came; costs nothing otherwise."""
        if self._asked_for_it:
            await self.release()

    async def release(self) -> None:
        """Give the lease back, so that another need not wait; from now on nothing is written."""
        self._until, self._asked_for_it = -math.inf, False
        try:
            async with asyncio.timeout(RELEASE_SECONDS):
                if await self._is_others():  # a renewal that was cut off may have arrived: look at what there is
                    return
                await self._patch(released())
            logger.info("lease released", lease=self._name, identity=self.identity)
        except (KubeError, TimeoutError) as error:
            logger.warning("lease not released: it runs out", error=str(error))

    # -- how

    @property
    def _length(self) -> int:
        """Seconds of a lease that is asked for now."""
        return max(self._seconds, min(math.ceil(self._slowness * ROUNDS), LONGEST))

    async def _attempt(self, begun: float, length: int) -> float | None:
        if self._lease is None and not await self._look():
            spec = taken(self.identity, length, 0)
            self._asked_for_it = True
            await self._create(begun, length, spec)
            logger.info("leading", lease=self._name, identity=self.identity, why="there was no lease")
            return None
        if (wait := self._wait()) > 0:
            return wait
        before = self._lease or _NOBODYS
        self._asked_for_it = True
        try:
            await self._take(begun, length, taken(self.identity, length, before.transitions + 1))
        except NotFound:  # deleted since; its time is over
            self._lease = None
            return 0.0
        except Conflict:
            await self._look()
            return max(0.0, self._wait())
        why = f"the lease of {before.holder} ran out" if before.holder else "the lease was released"
        logger.info("leading", lease=self._name, identity=self.identity, why=why, seconds=length)
        return None

    def _wait(self) -> float:
        """Seconds until the lease may be taken."""
        if self._lease is None or self._lease.holder in ("", self.identity):
            return 0.0
        return self._since + self._lease.seconds - self._clock()

    async def _renew(self) -> None:
        begun, length = self._clock(), self._length
        # A shorter lease counts as soon as it may have arrived, answered or not.
        self._until = min(self._until, begun + length * VALID)
        try:
            await self._take(begun, length, renewed(length))
        except NotFound:  # deleted by a person; a candidate that knew it waits until its time is over
            before = self._lease or _NOBODYS
            await self._create(begun, length, taken(self.identity, length, before.transitions))

    async def _create(self, begun: float, length: int, spec: dict[str, Any]) -> None:
        body = {
            "apiVersion": LEASE.api_version,
            "kind": LEASE.name,
            "metadata": {"name": self._name, "namespace": self._namespace},
            "spec": spec,
        }
        stored = await self._ask(self._kube.create(LEASE, self._namespace, body))
        self._granted(begun, length, stored)

    async def _take(self, begun: float, length: int, spec: dict[str, Any]) -> None:
        self._granted(begun, length, await self._patch(spec))

    async def _patch(self, spec: dict[str, Any]) -> Body:
        """Change the very version that we know."""
        known = {"resourceVersion": str((self._lease or _NOBODYS).version)}
        patch = {"metadata": known, "spec": spec}
        return await self._ask(self._kube.merge_patch(LEASE, self._namespace, self._name, patch))

    async def _look(self) -> bool:
        """Read the lease; return whether there is one."""
        try:
            self._observe(await self._ask(self._kube.get(LEASE, self._namespace, self._name)), certain=True)
        except NotFound:
            return False
        return True

    async def _is_others(self) -> bool:
        """Look whether somebody else holds the lease; no answer is none."""
        with contextlib.suppress(KubeError):
            await self._look()
        return self._lease is not None and self._lease.holder != self.identity

    async def _ask(self, request: Awaitable[Body]) -> Body:
        begun = self._clock()
        try:
            return await request
        finally:
            self._slowness = max(self._clock() - begun, self._slowness * FADE)

    def _granted(self, begun: float, length: int, stored: Body) -> None:
        self._observe(stored, certain=True)
        self._until = begun + length * VALID

    def _observe(self, body: Body, *, certain: bool = False) -> None:
        """Take a version in; what a watch brings late is none, unless a restored etcd says so itself."""
        lease, known = read_lease(body), self._lease
        if known is not None and (
            lease.version == known.version or (lease.version < known.version and not certain)
        ):
            return
        if lease.holder not in ("", self.identity) and (known is None or known.holder != lease.holder):
            logger.info("standing by", lease=self._name, identity=self.identity, leader=lease.holder)
        self._lease, self._since = lease, self._clock()
        self._changed.set()

    async def _change(self, seconds: float) -> None:
        """Wait for another version, at most so long."""
        self._changed.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._changed.wait()

    async def _watch(self) -> None:
        """Bring every version; a leader renews so often that a silent watch is a dead one."""
        only: dict[str, str | int] = {"fieldSelector": f"metadata.name={self._name}", "timeoutSeconds": 300}
        while True:
            with contextlib.suppress(KubeError):
                body = await self._kube.get(LEASE, self._namespace, self._name)
                self._observe(body)
                version, silence = body["metadata"]["resourceVersion"], 2.0 * read_lease(body).seconds
                async for event in self._kube.watch(LEASE, self._namespace, version, silence=silence, **only):
                    if event["type"] in ("ADDED", "MODIFIED"):
                        self._observe(event["object"])
                    elif event["type"] == "ERROR":
                        break
            await asyncio.sleep(self._seconds * RETRY)


_NOBODYS: Final = Lease(version=0, holder="", seconds=1, transitions=0)
