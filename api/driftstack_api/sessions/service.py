"""Reading and ending sessions."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

from driftstack_api.auth import Caller
from driftstack_api.caches import Caches
from driftstack_api.looks import Looks
from driftstack_api.pagination import Position, encode, position_of
from driftstack_api.problems import Problem, unavailable
from driftstack_api.sessions.cache import Entry, entry_of_record, entry_of_session
from driftstack_api.sessions.marks import Marks
from driftstack_api.sessions.view import View, view
from driftstack_common.kinds import Session, from_body
from driftstack_common.kube.client import KubeClient
from driftstack_common.kube.errors import Conflict, NotFound
from driftstack_common.names import session_uid
from driftstack_common.times import now

ARRIVAL_SECONDS: Final = 1.0
"""How long an object that exists may take to reach the cache before it is used without."""
DELETE_SECONDS: Final = 10.0
"""How long a DELETE may take until the object is gone."""
PATIENCE_SECONDS: Final = 1.0
"""How long to rely on the watch before looking whether it can be trusted, and asking the API server."""


class Sessions:
    """What callers can read and end; every method sees the caller's own sessions only.

    While the copies can't be trusted, a session is read from the API server itself, and lists are refused.
    """

    def __init__(self, client: KubeClient, looks: Looks, caches: Caches, marks: Marks) -> None:
        self._client = client
        self._looks = looks
        self._caches = caches
        self._cache = caches.sessions
        self._marks = marks

    async def find(self, caller: Caller, session: str) -> Entry:
        """Return a session by its public id.

        Raises:
            Problem: not-found, also for ids of other accounts and for what is no id.
        """
        uid = session_uid(session)
        entry = await self._find(caller.namespace, uid) if uid else None
        if entry is None:
            raise Problem("not-found", "There is no such session.")
        return entry

    async def get(self, caller: Caller, session: str) -> View:
        """Return a session as callers see it."""
        return self.show(await self.settled(await self.find(caller, session)), caller)

    def show(self, entry: Entry, caller: Caller) -> View:
        """Return a found session as callers see it."""
        return view(entry, caller.account, self._marks.overlay(entry.uid))

    async def list_page(self, caller: Caller, limit: int, cursor: str | None) -> dict[str, Any]:
        """Return a page, newest first, live and ended sessions together; `schemas.SessionPage` describes it.

        Raises:
            Problem: validation-failed (cursor); feature-unavailable while the copies may be out of date.
        """
        if not self._caches.sessions_fresh:
            raise unavailable("The list of sessions may be out of date right now.")
        account = caller.account.metadata.uid
        before = position_of(cursor, account)
        entries, more = self._cache.page(caller.namespace, before, limit)
        following = encode(Position(entries[-1].created, entries[-1].uid), account) if more else None
        if any(_lacks_record(entry) for entry in entries):
            entries = await asyncio.gather(*map(self.settled, entries))
        return {
            "data": [self.show(entry, caller) for entry in entries],
            "has_more": more,
            "next_cursor": following,
        }

    async def trusted(self, entry: Entry) -> Entry:
        """Return the entry as it is, or as the API server has it when the copies may be out of date."""
        if self._caches.sessions_fresh or entry.record is not None:
            return entry
        session = await self._looks.session(entry.namespace, entry.name, entry.uid)
        if session is not None:
            return entry_of_session(session)
        record = await self._looks.record(entry.namespace, entry.uid)
        return replace(entry, gone_at=entry.gone_at or now()) if record is None else entry_of_record(record)

    async def until(self, entry: Entry, reached: Callable[[Entry], bool], seconds: float) -> Entry:
        """Wait until a session is as asked, at most this long; return what it is then."""
        deadline, seen = asyncio.get_running_loop().time() + seconds, entry

        def latest() -> Entry:
            return self._cache.get(entry.uid) or entry

        while not reached(seen) and (left := deadline - asyncio.get_running_loop().time()) > 0:
            await self._cache.signals.wait_for(entry.uid, lambda: reached(latest()), min(left, PATIENCE_SECONDS))
            seen = await self.trusted(latest())
        return seen

    async def settled(self, entry: Entry) -> Entry:
        """Return the entry with its record, should there be one that the cache has not seen yet.

        Without this, a session that failed could be shown as destroyed for the moment between its object's
        deletion and its record, which come by different streams.
        """
        if not _lacks_record(entry):
            return entry
        record = await self._looks.record(entry.namespace, entry.uid)
        return entry if record is None else entry_of_record(record)

    async def destroy(self, caller: Caller, session: str) -> None:
        """End a session and wait until its object is gone; fine when it has ended already.

        Raises:
            Problem: not-found; feature-unavailable when it takes longer than DELETE_SECONDS.
        """
        entry = await self.find(caller, session)
        if entry.gone:
            return
        try:
            async with asyncio.timeout(DELETE_SECONDS):
                if await self._delete(entry):
                    await self._leaves(entry)
        except TimeoutError as error:
            raise unavailable(
                "The session is ending, but has not gone yet. It is safe to repeat the call."
            ) from error

    async def _delete(self, entry: Entry) -> bool:
        """Have the API server delete a session; return whether it still had it."""
        try:
            left = await self._client.delete(Session.KIND, entry.namespace, entry.name, uid=entry.uid)
        except (NotFound, Conflict):  # Conflict: another object has the name by now
            self._cache.note_gone(entry.uid)
            return False
        if left.get("kind") == Session.KIND.name:
            self._cache.note_ending(from_body(Session, left))
        return True

    async def _leaves(self, entry: Entry) -> None:
        """Wait until an object is gone, by the watch or, should that be slow, by asking."""
        while not await self._cache.signals.wait_for(entry.uid, lambda: self._gone(entry.uid), PATIENCE_SECONDS):
            if await self._looks.session(entry.namespace, entry.name, entry.uid) is None:
                return self._cache.note_gone(entry.uid)

    async def find_by_name(self, namespace: str, name: str) -> Entry | None:
        """Return a session by the name of its object, asking the API server when no cache knows it."""
        entry = self._cache.by_name(namespace, name)
        if entry is not None:
            return await self.trusted(entry)
        session = await self._looks.session(namespace, name)
        if session is not None:
            return await self.arrived(session)
        if not self._caches.sessions_fresh:
            # Records can't be looked up by that name: it may have ended already.
            raise unavailable("Whether this session was made can't be told right now. Try again.")
        return None

    async def arrived(self, session: Session) -> Entry:
        """Wait until the cache has a session that exists, so that later calls see it; return its entry."""
        patience = ARRIVAL_SECONDS if self._caches.sessions_fresh else 0.0
        await self._cache.signals.wait_for(session.uid, lambda: self._cache.get(session.uid) is not None, patience)
        return self._cache.get(session.uid) or entry_of_session(session)

    def _gone(self, uid: str) -> bool:
        entry = self._cache.get(uid)
        return entry is not None and entry.gone

    async def _find(self, namespace: str, uid: str) -> Entry | None:
        entry = self._cache.get(uid)
        if entry is None:
            return await self._search(namespace, uid)
        return await self.trusted(entry) if entry.namespace == namespace else None

    async def _search(self, namespace: str, uid: str) -> Entry | None:
        """Ask the API server for what no copy has: another replica may have made the session a moment ago."""
        session = await self._looks.session_by_uid(namespace, uid)
        if session is not None:
            return await self.arrived(session)
        record = await self._looks.record(namespace, uid)
        return None if record is None else entry_of_record(record)


def _lacks_record(entry: Entry) -> bool:
    return entry.ended and entry.record is None
