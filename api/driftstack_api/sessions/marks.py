"""Marking sessions busy while a step runs, without making the step wait for it.

Three things are kept apart: the step itself starts at once; this replica's own reads show busy from that moment
(the overlay); the object's status follows for everybody else, by writes that run beside the step and are skipped
for steps shorter than MARK_AFTER. A write tests the phase and the step number it replaces, so that two replicas and
the operator never undo each other's; one that fails is logged and forgotten.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from driftstack_api.metrics import MARKS, STEPS
from driftstack_api.problems import Problem
from driftstack_api.sessions.cache import Entry, SessionCache
from driftstack_api.sessions.view import Overlay
from driftstack_common.kinds import Phase, Session
from driftstack_common.kube.client import Body, KubeClient
from driftstack_common.kube.errors import KubeError
from driftstack_common.logging import get_logger
from driftstack_common.times import format_time, now

MARK_AFTER: Final = 0.05
"""Steps shorter than this many seconds are not written."""
OVERLAY_SECONDS: Final = 5.0
"""How long a finished step is remembered while the watch has not yet shown what was written."""

_log = get_logger(__name__)


@dataclass
class _Line:
    """The steps of one session on this replica, one after the other; `writes` is the last one's."""

    step: int
    running: bool
    since: datetime
    writes: asyncio.Task[None] | None = None


class Marks:
    """Busy marks of the steps that this replica runs."""

    def __init__(self, client: KubeClient, cache: SessionCache) -> None:
        self._client = client
        self._cache = cache
        self._lines: dict[str, _Line] = {}

    def overlay(self, uid: str) -> Overlay | None:
        """Return what this replica knows about a session's steps beyond its copy."""
        line = self._lines.get(uid)
        return None if line is None else Overlay(line.running, line.step, line.since)

    @asynccontextmanager
    async def running(self, entry: Entry) -> AsyncIterator[None]:
        """Mark a session busy for the time of the block.

        Raises:
            Problem: conflict when this replica already runs a step of the session.
        """
        before = self._lines.get(entry.uid)
        if before is not None and before.running:
            raise Problem("conflict", "A step is running in this session; one runs at a time.")
        line = _Line(self._next(entry, before), True, now())
        self._lines[entry.uid] = line
        finished = asyncio.Event()
        line.writes = asyncio.create_task(self._write(entry, line, finished, before))
        STEPS.inc()
        try:
            yield
        finally:
            STEPS.dec()
            line.running, line.since = False, now()
            finished.set()

    async def drain(self, seconds: float) -> None:
        """Wait for the writes under way, at shutdown."""
        writes = [line.writes for line in self._lines.values() if line.writes is not None]
        if writes:
            await asyncio.wait(writes, timeout=seconds)

    async def _write(self, entry: Entry, line: _Line, finished: asyncio.Event, before: _Line | None) -> None:
        """Follow one step: busy when it lasts, ready when it ends; a session's writes never overlap."""
        try:
            if before is not None and before.writes is not None:
                await asyncio.wait((before.writes,))
                line.step = self._next(entry, before)
            lasting = not await _within(finished, MARK_AFTER)
            if not lasting or not await self._patch(
                entry, Phase.READY, line.step - 1, Phase.BUSY, line.step, line.since
            ):
                line.step -= 1
                return
            await finished.wait()
            if not self._ended(entry):
                await self._patch(entry, Phase.BUSY, line.step, Phase.READY, line.step, line.since)
            await self._cache.signals.wait_for(entry.uid, lambda: self._caught_up(entry, line), OVERLAY_SECONDS)
        finally:
            await finished.wait()
            if self._lines.get(entry.uid) is line:
                del self._lines[entry.uid]

    async def _patch(
        self, entry: Entry, old: Phase, old_step: int, new: Phase, new_step: int, since: datetime
    ) -> bool:
        operations: list[Body] = [
            {"op": "test", "path": "/metadata/uid", "value": entry.uid},
            {"op": "test", "path": "/status/phase", "value": old.value},
            {"op": "test", "path": "/status/step", "value": old_step},
            {"op": "replace", "path": "/status/phase", "value": new.value},
            {"op": "replace", "path": "/status/step", "value": new_step},
            {"op": "add", "path": "/status/lastTransitionTime", "value": format_time(since)},
        ]
        try:
            await self._client.json_patch(Session.KIND, entry.namespace, entry.name, operations, "status")
        except KubeError as error:
            MARKS.labels("failed").inc()
            _log.info("session not marked", session=entry.uid, phase=new.value, error=str(error))
            return False
        MARKS.labels("written").inc()
        return True

    def _next(self, entry: Entry, before: _Line | None) -> int:
        """The number of the next step, by the copy or by what this replica has just written."""
        current = self._cache.get(entry.uid) or entry
        stored = current.session.status.step if current.session else 0
        return max(stored, before.step if before else 0) + 1

    def _ended(self, entry: Entry) -> bool:
        current = self._cache.get(entry.uid)
        return current is not None and current.ended

    def _caught_up(self, entry: Entry, line: _Line) -> bool:
        current = self._cache.get(entry.uid)
        if current is None or current.ended or current.session is None:
            return True
        status = current.session.status
        return status.step > line.step or (status.step == line.step and status.phase is not Phase.BUSY)


async def _within(event: asyncio.Event, seconds: float) -> bool:
    """Whether the event happens within this time."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return False
    return True
