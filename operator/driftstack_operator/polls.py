"""Agents that are asked until they answer: a task each, so that no worker waits for one.

Kubernetes' own probes see whole seconds; here a new agent is found some ten milliseconds after it listens.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final, Generic, TypeVar

from driftstack_common.logging import get_logger

SHORTEST_PAUSE: Final = 0.01
LONGEST_PAUSE: Final = 0.25
SLOWING: Final = 0.02
"""Pause as a share of the time since the last sign of progress: an image that is pulled for a minute is not
asked after a hundred times a second."""

A = TypeVar("A")
Ask = Callable[[], Awaitable[A | None]]
"""Asks once; None when there is no answer yet."""

logger = get_logger(__name__)


class _Poll(Generic[A]):
    """A running poll; progress restarts its pace."""

    def __init__(self, ask: Ask[A], shortest: float) -> None:
        self.ask = ask
        self.shortest = shortest
        self.since = time.monotonic()
        self.progress = asyncio.Event()
        self.task: asyncio.Task[None] | None = None

    async def pause(self) -> None:
        seconds = min(max((time.monotonic() - self.since) * SLOWING, self.shortest), LONGEST_PAUSE)
        try:
            async with asyncio.timeout(seconds):
                await self.progress.wait()
            self.progress.clear()
            self.since = time.monotonic()
        except TimeoutError:
            return


class Polls(Generic[A]):
    """The polls in progress, by the uid of what is asked for.

    Args:
        name: begins the names of their tasks.
        done: told the uid and the answer, once, unless the poll is cancelled before.
        failed: makes an answer of a bug, which must not leave anybody asked for ever.
        shortest: seconds between two questions, at least.
    """

    def __init__(
        self,
        name: str,
        done: Callable[[str, A], None],
        failed: Callable[[Exception], A],
        shortest: float = SHORTEST_PAUSE,
    ) -> None:
        self._name = name
        self._shortest = shortest
        self._done = done
        self._failed = failed
        self._polls: dict[str, _Poll[A]] = {}

    def running(self, uid: str) -> bool:
        """Whether it is being asked."""
        return uid in self._polls

    def all(self) -> list[str]:
        """Return the uids of those that are being asked."""
        return list(self._polls)

    def start(self, uid: str, ask: Ask[A]) -> None:
        """Ask until there is an answer; does nothing when this is already under way."""
        if uid in self._polls:
            return
        poll = self._polls[uid] = _Poll(ask, self._shortest)
        poll.task = asyncio.create_task(self._run(uid, poll), name=f"{self._name}-{uid}")

    def hurry(self, uid: str) -> None:
        """Ask at once and often: something about the pod has changed."""
        if uid in self._polls:
            self._polls[uid].progress.set()

    def cancel(self, uid: str) -> None:
        """Ask no more."""
        poll = self._polls.pop(uid, None)
        if poll is not None and poll.task is not None:
            poll.task.cancel()

    async def wait(self, seconds: float) -> None:
        """Wait until all that are asked now have answered, at most so long."""
        tasks = self._tasks()
        if tasks:
            await asyncio.wait(tasks, timeout=seconds)

    async def close(self) -> None:
        """Cancel all and wait until they have ended."""
        tasks = self._tasks()
        for uid in list(self._polls):
            self.cancel(uid)
        await asyncio.gather(*tasks, return_exceptions=True)

    def _tasks(self) -> list[asyncio.Task[None]]:
        return [poll.task for poll in self._polls.values() if poll.task is not None]

    async def _run(self, uid: str, poll: _Poll[A]) -> None:
        try:
            while (answer := await poll.ask()) is None:
                await poll.pause()
        except Exception as error:
            logger.exception("poll failed", poll=self._name, uid=uid)
            answer = self._failed(error)
        if self._polls.get(uid) is poll:
            del self._polls[uid]
            self._done(uid, answer)
