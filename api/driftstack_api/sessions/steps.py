"""Running one step in a session: wait for ready, drive the agent, and give way to the session's end."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from driftstack_api.agents import gone, problem_of, was_stopped
from driftstack_api.auth import Caller
from driftstack_api.problems import Problem
from driftstack_api.sessions.cache import Entry, SessionCache
from driftstack_api.sessions.marks import Marks
from driftstack_api.sessions.service import Sessions
from driftstack_api.sessions.view import state_of
from driftstack_common.agent_client import AgentError, AgentUnreachable
from driftstack_common.kinds import Phase, Session
from driftstack_common.kube.errors import KubeError
from driftstack_common.logging import get_logger

READY_SECONDS: Final = 10.0
"""Longest wait of a step for a session that is still creating."""
END_SECONDS: Final = 2.0
"""How long a lost connection, or a stopped pod, waits for the session's end to explain it."""
LONGER_THAN_ANY_STEP: Final = 3600.0

T = TypeVar("T")

_log = get_logger(__name__)


class Steps:
    """Runs steps; the agent is the arbiter of what runs, this side adds the session's state to it."""

    def __init__(self, sessions: Sessions, cache: SessionCache, marks: Marks) -> None:
        self._sessions = sessions
        self._cache = cache
        self._marks = marks

    async def run(self, caller: Caller, session: str, timeout_ms: int, act: Callable[[Session], Awaitable[T]]) -> T:
        """Run a step and return its result.

        Args:
            timeout_ms: the step's own time, which also bounds the wait for ready.
            act: sends the step to the agent of a ready session.

        Raises:
            Problem: not-found, conflict, session-destroyed, driver-error, session-timeout, …
        """
        entry = await self.ready(caller, session, timeout_ms)
        async with self._marks.running(entry):
            return await self.reach(entry, timeout_ms, act)

    async def reach(self, entry: Entry, timeout_ms: int, act: Callable[[Session], Awaitable[T]]) -> T:
        """Return what the agent of a ready session answers; raise Problem, as `run` does."""
        if entry.session is None:
            raise gone()
        try:
            return await self._unless_ended(entry, act(entry.session))
        except AgentError as error:
            raise await self._explain(entry, error, timeout_ms) from error

    async def ready(self, caller: Caller, session: str, timeout_ms: int) -> Entry:
        """Return a session once it is ready; raise Problem not-found, conflict or session-destroyed."""
        entry = await self._sessions.find(caller, session)
        if _creating(entry):
            entry = await self._sessions.until(entry, _started, min(timeout_ms / 1000, READY_SECONDS))
        if entry.ended:
            raise gone()
        if _creating(entry):
            raise Problem("conflict", "The session is still being created.")
        return entry

    async def _unless_ended(self, entry: Entry, step: Awaitable[T]) -> T:
        """Return the step's result, or raise as soon as the session ends: DELETE wins."""
        running = asyncio.ensure_future(step)
        ending = asyncio.ensure_future(
            self._cache.signals.wait_for(entry.uid, lambda: self._current(entry).ended, LONGER_THAN_ANY_STEP)
        )
        try:
            await asyncio.wait((running, ending), return_when=asyncio.FIRST_COMPLETED)
            if running.done() and not self._current(entry).ended:
                return running.result()
            raise await self._end(self._current(entry))
        finally:
            running.cancel()
            ending.cancel()
            await asyncio.gather(running, ending, return_exceptions=True)

    async def _explain(self, entry: Entry, error: AgentError, timeout_ms: int) -> Problem:
        """Return why a step failed: a broken connection or a stopped pod may be a sign of the session's end."""
        if isinstance(error, AgentUnreachable) or was_stopped(error):
            try:
                now = await self._sessions.until(entry, lambda seen: seen.ended, END_SECONDS)
                if now.ended:
                    return await self._end(now)
            except KubeError as unknown:
                _log.info("whether a session has ended can't be told", session=entry.uid, error=str(unknown))
        return problem_of(error, timeout_ms)

    async def _end(self, entry: Entry) -> Problem:
        """Return what a step answers whose session ended under it: 410, or 502 when it failed."""
        settled = await self._sessions.settled(entry)
        if settled.record is not None and state_of(settled).phase is Phase.ERRORED:
            return Problem("driver-error", f"The session failed: {settled.record.spec.reason}.")
        return gone()

    def _current(self, entry: Entry) -> Entry:
        return self._cache.get(entry.uid) or entry


def _creating(entry: Entry) -> bool:
    return not entry.ended and state_of(entry).phase is Phase.CREATING


def _started(entry: Entry) -> bool:
    return not _creating(entry)
